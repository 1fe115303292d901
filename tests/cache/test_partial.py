"""Conditions and ranges answered from a response that is fetched whole for the storage."""

import pytest

from tests.support.caching import Body, Site, exchange, location
from wsgi_proxy.cache.partial import PassingPart, met, wants_whole
from wsgi_proxy.errors import TruncatedResponse
from wsgi_proxy.response import Response

TAG = [("Cache-Control", "max-age=60"), ("ETag", '"b"'), ("Accept-Ranges", "bytes")]


@pytest.mark.parametrize("blocks", [[b"0123456789"], [b"01", b"2345", b"6789"], [bytes([48 + n]) for n in range(10)]])
@pytest.mark.parametrize(("start", "count"), [(0, 1), (2, 5), (9, 1), (0, 10)])
def test_a_part_passes_and_the_rest_is_read(blocks, start, count):
    body = Body(blocks)
    part = PassingPart(body, start, count)
    assert b"".join(part) == b"0123456789"[start : start + count]
    part.close()
    assert body.closed == 1


def test_a_body_that_ends_before_the_part_does_is_truncated():
    with pytest.raises(TruncatedResponse):
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
    site.responses((200, [("Cache-Control", "max-age=60"), ("ETag", '"a"')], b"old"), (200, TAG, b"0123456789"))
    site.get("/")
    site.now += 61
    got = site.get("/", headers=fields)
    assert (got.status, got.body) == (status, body)
    hit = site.get("/")
    assert (hit.word, hit.body) == ("HIT", b"0123456789")
    site.cache.close()


def test_an_unknown_length_gives_no_part():
    response = Response(200, [], (b"0123",))
    assert met(exchange(headers=[("Range", "bytes=1-3")]), response, 0.0, None) is response


@pytest.mark.parametrize(
    ("text", "offset", "whole"),
    [
        ("bytes=5-9", 5, False),
        ("bytes=6-9", 5, False),
        ("bytes=-5", 5, False),
        ("bytes=0-", 0, False),
        ("x", 5, False),
        ("bytes=0-", None, True),
        ("bytes=-5", None, True),
        ("bytes=0-1,3-4", None, False),
    ],
)
def test_which_ranges_fetch_the_whole(text, offset, whole):
    assert wants_whole(exchange(headers=[("Range", text)]), offset) is whole


def test_max_range_offset_stores_the_whole_and_sends_the_part(tmp_path):
    site = Site(tmp_path)
    site.location = location(max_range_offset=5)
    site.responses((200, TAG, b"0123456789"), (206, [("Content-Range", "bytes 6-7/10")], b"67"))
    got = site.get("/", headers=[("Range", "bytes=2-4")])
    assert (got.status, got.body, got["Content-Range"]) == (206, b"234", "bytes 2-4/10")
    assert "range" not in site.origin.seen[0][2]
    assert site.get("/", headers=[("Range", "bytes=6-7")]).body == b"67" and site.fetches == 1
    site.get("/other", headers=[("Range", "bytes=6-7")])
    assert site.origin.seen[1][2]["range"] == "bytes=6-7"
    site.cache.close()


COLD = [
    ("GET", ("If-None-Match", '"b"'), 304, b""),
    ("GET", ("If-None-Match", '"a"'), 200, b"0123456789"),
    ("GET", ("If-Modified-Since", "Fri, 01 Jan 2010 00:00:00 GMT"), 200, b"0123456789"),
    ("GET", ("Range", "bytes=2-4"), 206, b"234"),
    ("GET", ("Range", "bytes=-3"), 206, b"789"),
    ("GET", ("Range", "bytes=10-"), 416, b""),
    ("HEAD", ("X", "y"), 200, b""),
    ("HEAD", ("If-None-Match", '"b"'), 304, b""),
]


@pytest.mark.parametrize(("method", "field", "status", "body"), COLD)
def test_the_first_request_of_a_key_fills_the_store_whatever_it_wants(tmp_path, method, field, status, body):
    site = Site(tmp_path)
    site.location = location(convert_head=None)
    site.responses((200, TAG, b"0123456789"), (500, [], b"not asked"))
    got = site.get("/", method, headers=[field])
    assert (got.status, got.body) == (status, body)
    sent_method, _, sent = site.origin.seen[0]
    assert sent_method == "GET" and not {"if-none-match", "if-modified-since", "range"} & sent.keys()
    assert (site.get("/").word, site.get("/").body, site.fetches) == ("HIT", b"0123456789", 1)
    site.cache.close()


@pytest.mark.parametrize(("method", "field", "status", "body"), COLD)
def test_where_nothing_can_be_stored_the_client_gets_its_part_and_the_next_asks_by_itself(tmp_path, method, field, status, body):
    site = Site(tmp_path)
    site.location = location(convert_head=None)
    site.responses((200, [*TAG, ("Set-Cookie", "a=b")], b"0123456789"))
    got = site.get("/", method, headers=[field])
    whole = field[0].startswith("If-") and method == "GET"
    expected = (200, b"0123456789" if whole else body) if method == "HEAD" or whole else (status, body)
    assert (got.status, got.body) == expected
    site.get("/", method, headers=[field])
    sent_method, _, sent = site.origin.seen[1]
    assert (sent_method, sent[field[0].lower()]) == (method, field[1])
    site.cache.close()


@pytest.mark.parametrize(
    "field", [("If-Match", '"b"'), ("If-Unmodified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"), ("Range", "bytes=0-1,4-5")]
)
def test_what_only_the_origin_can_answer_goes_to_it(tmp_path, field):
    site = Site(tmp_path)
    site.responses((200, TAG, b"0123456789"))
    site.get("/", headers=[field])
    assert site.origin.seen[0][2][field[0].lower()] == field[1]
    site.cache.close()


@pytest.mark.parametrize("field", ["If-Modified-Since", "If-Unmodified-Since"])
@pytest.mark.parametrize("fields", [TAG, [*TAG, ("Set-Cookie", "a=b")]])
def test_a_malformed_date_is_no_condition(tmp_path, field, fields):
    """RFC 9110, sections 13.1.3 and 13.1.4: it is ignored, so the origin need not see it, not even while nothing is stored."""
    site = Site(tmp_path)
    site.responses((200, fields, b"0123456789"))
    for _ in range(3):
        assert site.get("/", headers=[(field, "blah")]).body == b"0123456789"
    assert [field.lower() in sent for _, _, sent in site.origin.seen] == [False] * (1 if fields is TAG else 3)
    site.cache.close()


def test_a_part_that_is_all_the_client_wants_does_not_keep_it_waiting():
    """Behind the part, a helper reads on; the client's connection is free."""
    body = Body([b"0123", b"4567", b"89"])
    part = PassingPart(body, 2, 3, to_the_end=False)
    assert b"".join(part) == b"234"
    part.close()
    assert body.closed == 1


def test_a_client_without_a_body_gets_its_answer_where_no_thread_is_to_be_had(tmp_path):
    def exhausted(function):
        raise RuntimeError("can't start new thread")

    site = Site(tmp_path, spawn=exhausted)
    site.location = location(convert_head=None)
    site.responses((200, TAG, b"0123456789"))
    assert site.get("/", "HEAD").status == 200
    assert (site.get("/").word, site.get("/").word) == ("MISS", "HIT")
    site.cache.close()
