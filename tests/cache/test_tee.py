"""The copying body: the stored bytes are those sent, and a storage that fails harms no client."""

import errno
import os
import threading
import time

import pytest

from tests.support.caching import Body, Site, exchange
from wsgi_proxy.cache.fill import Fill
from wsgi_proxy.config import CacheZone
from wsgi_proxy.errors import TruncatedResponse

FRESH = [("Cache-Control", "max-age=60")]
BLOCK = bytes(range(256)) * 256
LARGE = [BLOCK] * 16


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    helpers.append(thread)


helpers: list[threading.Thread] = []


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path / "cache", spawn=in_thread)
    yield site
    for helper in helpers:
        helper.join(30)
    helpers.clear()
    site.cache.close()


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)


def stored_word(site):
    return site.get("/").word


def test_a_large_body_goes_by_a_helper_and_arrives_whole(site):
    body = Body(LARGE)
    site.responses((200, FRESH, body), (500, [], b""))
    assert site.get("/").body == b"".join(LARGE)
    for helper in helpers:
        helper.join(30)
    assert body.closed == 1
    hit = site.get("/")
    assert (hit.word, hit.body) == ("HIT", b"".join(LARGE))


class Endless(Body):
    """A long body that counts the bytes read."""

    def __init__(self, blocks, pause=0.0):
        super().__init__(blocks)
        self.taken = 0
        self.pause = pause

    def __iter__(self):
        for block in self.blocks:
            self.taken += 1
            yield block
            time.sleep(self.pause)


def test_a_client_that_stops_reading_holds_up_nobody(site):
    body = Endless(LARGE)
    site.responses((200, [*FRESH, ("Content-Length", str(len(BLOCK) * 16))], body))
    slow = site.ask(exchange("/"))
    slow.length = None
    blocks = iter(slow.body)
    for _ in range(5):
        assert next(blocks)
    # The slow client reads no further; another one gets all of it.
    assert site.get("/").body == b"".join(LARGE)
    assert b"".join(blocks) == b"".join(LARGE[5:])
    slow.close()


def test_a_client_that_leaves_a_known_length_behind_leaves_the_store_the_rest(site):
    length = len(BLOCK) * 16
    body = Endless(LARGE)
    site.responses((200, [*FRESH, ("Content-Length", str(length))], body))
    site.origin.responses = [lambda method, make=site.origin.responses[0]: with_length(make(method), length)]
    response = site.ask(exchange("/"))
    blocks = iter(response.body)
    for _ in range(6):
        next(blocks)
    response.close()
    for helper in helpers:
        helper.join(30)
    assert body.closed == 1
    assert stored_word(site) == "HIT"


def with_length(response, length):
    response.length = length
    return response


@pytest.mark.parametrize("known", [True, False])
def test_a_leader_that_leaves_does_not_take_the_followers_answer_with_it(site, known):
    go = threading.Event()

    class Slow(Body):
        def __iter__(self):
            yield b"first "
            assert go.wait(30)
            yield b"last"

    body = Slow([])
    site.responses((200, FRESH, body), (500, [], b"not asked"))
    make = site.origin.responses[0]
    site.origin.responses[0] = lambda method: with_length(make(method), 10 if known else None)
    leader = site.ask(exchange("/"))
    assert next(iter(leader.body)) == b"first "
    follower = site.ask(exchange("/"))
    blocks = iter(follower.body)
    assert next(blocks) == b"first "
    leader.close()
    go.set()
    assert b"".join(blocks) == b"last"
    follower.close()
    for helper in helpers:
        helper.join(30)
    assert body.closed == 1 and site.get("/").body == b"first last"


@pytest.mark.parametrize("announced", [999, 1001])
def test_a_body_of_another_length_than_announced_is_not_stored(site, announced):
    site.responses((200, FRESH, Body([b"x" * 1000])), (200, FRESH, b"new"))
    make = site.origin.responses[0]
    site.origin.responses[0] = lambda method: with_length(make(method), announced)
    assert site.get("/").body == b"x" * 1000
    assert site.get("/").body == b"new"


def test_a_body_of_unknown_length_ends_with_its_only_client(site):
    body = Endless([BLOCK] * 200, pause=0.002)
    site.responses((200, FRESH, body), (200, FRESH, b"new"))
    response = site.ask(exchange("/"))
    blocks = iter(response.body)
    for _ in range(6):
        next(blocks)
    response.close()
    for helper in helpers:
        helper.join(30)
    assert body.taken < 200 and body.closed == 1
    assert site.get("/").body == b"new"


@pytest.mark.parametrize("after", [0, 3, 9])
def test_a_full_disk_stops_the_copy_and_not_the_answer(site, monkeypatch, caplog, after):
    add, count = Fill.add, [0]

    def failing(self, block):
        count[0] += 1
        if count[0] > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        add(self, block)

    monkeypatch.setattr(Fill, "add", failing)
    body = Body(LARGE)
    site.responses((200, FRESH, body))
    assert site.get("/").body == b"".join(LARGE)
    for helper in helpers:
        helper.join(30)
    assert body.closed == 1
    assert len([record for record in caplog.records if "No space left" in record.getMessage()]) == 1
    monkeypatch.undo()
    site.responses((200, FRESH, b"new"))
    assert site.get("/").body == b"new"


def test_no_helper_to_be_had_stops_the_copy_and_not_the_answer(tmp_path, caplog):
    def exhausted(function):
        raise RuntimeError("can't start new thread")

    site = Site(tmp_path, spawn=exhausted)
    body = Body(LARGE)
    site.responses((200, FRESH, body))
    assert site.get("/").body == b"".join(LARGE) and body.closed == 1
    assert len(caplog.records) == 1 and site.get("/").word == "MISS"
    site.cache.close()


@pytest.mark.parametrize("at", [1, 10])
def test_an_upstream_that_breaks_off_breaks_the_answer_and_stores_nothing(site, at):
    body = Body(LARGE[:at], TruncatedResponse("cut"))
    site.responses((200, FRESH, body), (200, FRESH, b"new"))
    with pytest.raises(TruncatedResponse):
        site.get("/")
    for helper in helpers:
        helper.join(30)
    assert site.get("/").body == b"new"


@pytest.mark.parametrize("known", [True, False])
def test_a_body_over_the_limit_is_delivered_and_not_stored(tmp_path, known):
    site = Site(tmp_path, zone=CacheZone("z", str(tmp_path), max_size=300_000), spawn=in_thread)
    site.responses((200, FRESH, b"".join(LARGE) if known else Body(LARGE)))
    for _ in range(2):
        got = site.get("/")
        assert (got.word, got.body) == ("MISS", b"".join(LARGE))
    for helper in helpers:
        helper.join(30)
    site.cache.close()


def test_a_read_only_store_is_a_miss_and_a_line(tmp_path, caplog):
    file = tmp_path / "file"
    file.write_text("in the way")
    site = Site(file / "cache")
    site.responses((200, FRESH, b"x"))
    assert [site.get("/").body for _ in range(3)] == [b"x"] * 3
    assert len(caplog.records) == 1


def test_no_copy_is_made_of_what_is_not_stored(site):
    body = Body(LARGE)
    site.responses((200, [("Cache-Control", "no-store")], body))
    response = site.ask(exchange("/"))
    assert response.body is body
    response.close()
