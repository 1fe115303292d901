"""Conditions and ranges met by what is fetched whole for the store."""

import pytest

from tests.support.caching import Body, Site, exchange, location
from wsgi_proxy.cachepart import PassingPart, met, wants_whole
from wsgi_proxy.errors import TruncatedAnswer
from wsgi_proxy.exchange import Answer

TAG = [("Cache-Control", "max-age=60"), ("ETag", '"b"')]


@pytest.mark.parametrize("blocks", [[b"0123456789"], [b"01", b"2345", b"6789"], [bytes([48 + n]) for n in range(10)]])
@pytest.mark.parametrize(("start", "count"), [(0, 1), (2, 5), (9, 1), (0, 10)])
def test_a_part_passes_and_the_rest_is_read(blocks, start, count):
    body = Body(blocks)
    part = PassingPart(body, start, count)
    assert b"".join(part) == b"0123456789"[start : start + count]
    part.close()
    assert body.closed == 1


def test_a_body_that_ends_before_the_part_does_is_truncated():
    with pytest.raises(TruncatedAnswer):
        list(PassingPart([b"01"], 1, 5))


@pytest.mark.parametrize(
    ("fields", "status", "body"),
    [
        ([("Range", "bytes=1-3")], 206, b"123"),
        ([("Range", "bytes=99-")], 416, b""),
        ([("If-None-Match", '"b"')], 304, b""),
        ([("If-None-Match", '"a"')], 200, b"0123456789"),
        ([("Range", "bytes=1-3"), ("If-Range", '"a"')], 200, b"0123456789"),
        ([], 200, b"0123456789"),
    ],
)
def test_what_replaced_the_stored_answer_meets_the_clients_conditions(tmp_path, fields, status, body):
    site = Site(tmp_path)
    site.answers((200, [("Cache-Control", "max-age=60"), ("ETag", '"a"')], b"old"), (200, TAG, b"0123456789"))
    site.get("/")
    site.now += 61
    got = site.get("/", headers=fields)
    assert (got.status, got.body) == (status, body)
    hit = site.get("/")
    assert (hit.word, hit.body) == ("HIT", b"0123456789")
    site.cache.close()


def test_an_unknown_length_gives_no_part():
    answer = Answer(200, [], (b"0123",))
    assert met(exchange(headers=[("Range", "bytes=1-3")]), answer, 0.0, None) is answer


@pytest.mark.parametrize(
    ("text", "offset", "whole"),
    [
        ("bytes=5-9", 5, True),
        ("bytes=6-9", 5, False),
        ("bytes=-5", 5, False),
        ("bytes=0-", 0, True),
        ("x", 5, False),
        ("bytes=0-", None, False),
    ],
)
def test_which_ranges_fetch_the_whole(text, offset, whole):
    assert wants_whole(exchange(headers=[("Range", text)]), offset) is whole


def test_max_range_offset_stores_the_whole_and_sends_the_part(tmp_path):
    site = Site(tmp_path)
    site.location = location(max_range_offset=5)
    site.answers((200, TAG, b"0123456789"), (206, [("Content-Range", "bytes 6-7/10")], b"67"))
    got = site.get("/", headers=[("Range", "bytes=2-4")])
    assert (got.status, got.body, got["Content-Range"]) == (206, b"234", "bytes 2-4/10")
    assert "range" not in site.origin.seen[0][2]
    assert site.get("/", headers=[("Range", "bytes=6-7")]).body == b"67" and site.fetches == 1
    site.get("/other", headers=[("Range", "bytes=6-7")])
    assert site.origin.seen[1][2]["range"] == "bytes=6-7"
    site.cache.close()
