"""Fetches without a client: they carry none of a client's fields, and their failures reach no client."""

import pytest

from tests.support.caching import Body, Site, exchange
from wsgi_proxy.cache.background import detached, drain, same_response
from wsgi_proxy.errors import ConnectFailed, TruncatedResponse
from wsgi_proxy.response import Response

GRACE = [("Cache-Control", "max-age=60, stale-while-revalidate=100")]


def test_a_detached_request_shares_nothing_that_changes():
    x = exchange("/a", "HEAD", [("A", "1")])
    x.variables["v"] = "1"
    x.content_length = 5
    x.tries.append("t")
    other = detached(x)
    other.variables["v"] = "2"
    other.tries.append("u")
    assert (other.method, other.content_length, other.input.read(), other.target) == ("GET", None, b"", "/a")
    assert (x.variables, x.tries, x.method) == ({"v": "1"}, ["t"], "HEAD")


def test_draining_reads_all_and_closes_even_what_breaks():
    whole, broken = Body([b"a", b"b"]), Body([b"a"], TruncatedResponse("cut"))
    drain(Response(200, [], whole))
    with pytest.raises(TruncatedResponse):
        drain(Response(200, [], broken))
    assert whole.closed == broken.closed == 1


@pytest.mark.parametrize("error", [ConnectFailed("down"), ValueError("a defect")])
def test_an_update_that_fails_is_a_line_in_the_log_and_frees_its_fill(tmp_path, caplog, error):
    site = Site(tmp_path, background=True)
    site.responses((200, GRACE, b"one"), error, (200, GRACE, b"two"))
    site.get("/")
    site.now += 70
    assert site.get("/").word == "STALE"
    site.run_spawned()
    assert len(caplog.records) == 1
    assert site.get("/").word == "STALE"
    site.run_spawned()
    assert site.get("/").body == b"two"


class Broken:
    """A fetch with a defect."""

    closed = False

    def prepare(self, x):
        raise ValueError("a defect")

    def close(self):
        self.closed = True


def test_the_end_of_an_update_is_an_event_of_the_request_that_began_it(tmp_path):
    site, x, fetch = Site(tmp_path, background=True), exchange("/a"), Broken()
    site.cache.background.update(x, fetch)
    assert not x.update.is_set() and detached(x).update is None
    site.run_spawned()
    assert x.update.is_set() and fetch.closed


def test_nothing_is_updated_behind_a_request_by_who_cannot(tmp_path):
    site = Site(tmp_path)
    site.responses((200, GRACE, b"one"), (200, GRACE, b"two"))
    site.get("/")
    site.now += 70
    got = site.get("/")
    assert (got.word, got.body) == ("EXPIRED", b"two")


@pytest.mark.parametrize(
    ("second", "same"),
    [
        ([("ETag", '"a"'), ("Content-Length", "5"), ("X", "2")], True),
        ([("etag", '"b"'), ("Content-Length", "5")], False),
        ([("Content-Length", "5")], False),
        ([("ETag", '"a"'), ("Content-Length", "6")], False),
    ],
)
def test_which_answers_are_the_same(second, same):
    assert same_response([("ETag", '"a"'), ("Content-Length", "5"), ("X", "1")], second) is same
