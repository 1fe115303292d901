"""Generated requests through the whole proxy: parsers never disagree about the bytes at the upstream.

What reaches the upstream is read by our strict parser, by llhttp (httptools) and by gunicorn's parser, and all three must read
the same single request. And it must be what llhttp and gunicorn read in the client's own bytes, in that order: nothing that one
of them would call a body, a field or an extension is ever sent on as a request.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httptools
import pytest
from gunicorn.config import Config
from gunicorn.http.errors import ParseException
from gunicorn.http.parser import RequestParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import Client, Recorder, fetch, free_port, run_proxy
from wsgi_proxy.errors import ClientError
from wsgi_proxy.http.framing import ChunkedDecoder, LengthDecoder
from wsgi_proxy.http.request import parse_request_head

pytestmark = pytest.mark.ours_alone("the parser is the server's")

CONFIGURATION = """
worker_processes 1;
events {{ worker_connections 512; }}
http {{
    access_log off;
    upstream echo {{ server {address} max_fails=0; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://echo; proxy_set_header Host $host; proxy_request_buffering {buffering}; }}
    }}
}}
"""

Reading = tuple[str, str, bytes]
"""A request's method, target and body."""


def by_ours(data: bytes) -> list[Reading]:
    """Strictly one request; anything else raises."""
    end = data.index(b"\r\n\r\n") + 4
    head = parse_request_head(data[:end])
    decoder = ChunkedDecoder(ClientError) if head.chunked else LengthDecoder(head.content_length or 0, ClientError)
    body = b"".join(decoder.feed(data[end:]))
    assert decoder.done and not decoder.rest
    return [(head.method, head.target, body)]


@dataclass
class Llhttp:
    """Collects what httptools reads."""

    found: list[Reading] = field(default_factory=list)
    parser: Any = None
    target: str = ""
    body: bytes = b""

    def on_message_begin(self) -> None:
        self.target, self.body = "", b""

    def on_url(self, url: bytes) -> None:
        self.target += url.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.found.append((self.parser.get_method().decode(), self.target, self.body))


def by_llhttp(data: bytes) -> tuple[list[Reading], bool]:
    """(the complete requests before the first fault or the end, whether it was only a method or version llhttp does not know)."""
    seen = Llhttp()
    seen.parser = parser = httptools.HttpRequestParser(seen)
    try:
        parser.feed_data(data)
    except httptools.HttpParserInvalidMethodError:
        return seen.found, True
    except httptools.HttpParserError as error:
        return seen.found, str(error) == "Invalid HTTP version"
    return seen.found, False


def by_gunicorn(data: bytes) -> list[Reading]:
    """The complete requests before the first fault or the end."""
    found: list[Reading] = []
    options = Config()
    # It wants methods of three letters or more.
    options.set("permit_unconventional_http_method", True)
    try:
        for request in RequestParser(options, iter([data]), ("127.0.0.1", 1)):
            body = request.body.read()
            found.append((request.method, request.uri, body))
    except (ParseException, OSError, ValueError):
        return found
    return found


class Place:
    def __init__(self, port: int, upstream: Recorder) -> None:
        self.port = port
        self.upstream = upstream


@pytest.fixture(scope="module", params=["on", "off"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Recorder() as upstream:
        text = CONFIGURATION.format(address=upstream.address, port=free_port(), buffering=request.param)
        with run_proxy(text, tmp_path_factory.mktemp(f"fuzz-{request.param}")) as proxy:
            yield Place(proxy.port, upstream)
            assert "Traceback" not in proxy.log(), proxy.log()


HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
_often = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n ", b"\0\r\n"])
_space = st.sampled_from([b" "] * 12 + [b"  ", b"\t", b"", b"\x0b", b"\xa0"])
_line = st.builds(
    lambda method, a, target, b, version, end: method + a + target + b + version + end,
    st.sampled_from([b"GET", b"POST", b"POST", b"PUT", b"HEAD", b"DELETE"]),
    _space,
    st.sampled_from([b"/a", b"/b?c", b"/a%2Fb", b"//x", b"/a#b", b"/a b", b"*"]),
    _space,
    st.sampled_from([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/1.1x", b"http/1.1", b""]),
    _often,
)
_names = [b"Content-Length"] * 4 + [b"Transfer-Encoding"] * 4
_names += [b"content-length", b"Transfer_Encoding", b"Content_Length", b"Connection", b"X", b"Host", b"Trailer"]
_names += [b"", b" X", b"X ", b"X\0"]
_values = [b"5", b"0", b"44", b"chunked", b"chunked", b"Chunked", b"identity", b"+5", b"5, 5", b"05", b"\x0bchunked"]
_values += [b"chunked, identity", b"close", b"keep-alive", b"content-length", b"", b"0x5", b"5\r\n 0", b'"chunked"', b"a"]
_field = st.builds(
    lambda name, colon, value, end: name + colon + value + end,
    st.sampled_from(_names),
    st.sampled_from([b": "] * 8 + [b":", b" : ", b":\t", b""]),
    st.sampled_from(_values),
    _often,
)
_chunk = st.builds(
    lambda size, extension, a, data, b: size + extension + a + data + b,
    st.sampled_from([b"5"] * 8 + [b"0", b"05", b"0x5", b"5_", b"2c", b"-5", b"10000000000000005", b""]),
    st.sampled_from([b""] * 6 + [b";a", b";a=\n", b";\r", b";\0"]),
    _often,
    st.sampled_from([b"hello"] * 6 + [b"hell", b"hello!", b"", HIDDEN]),
    _often,
)
_chunked = st.builds(
    lambda chunks, last, trailers, end: b"".join(chunks) + last + b"".join(trailers) + end,
    st.lists(_chunk, max_size=3),
    st.sampled_from([b"0\r\n"] * 6 + [b"0\n", b"0;x\r\n", b"00\r\n", b""]),
    # No framing fields among these: llhttp takes trailers for fields and calls them a fault; we drop them.
    st.lists(st.sampled_from([b"X: y\r\n", b"Host: b\r\n", b"X: y\n", b"X : y\r\n", b" X: y\r\n", b"X\r\n"]), max_size=1),
    _often,
)
_request = st.builds(
    lambda line, host, fields, end, body: line + host + b"".join(fields) + end + body,
    _line,
    st.sampled_from([b"Host: a\r\n"] * 8 + [b"", b"Host: a\n", b"Host: a\r\nHost: b\r\n"]),
    st.lists(_field, max_size=3),
    _often,
    st.one_of(st.just(b""), st.just(b"hello"), st.just(HIDDEN), _chunked),
)
_plain = st.builds(
    lambda fields, body: b"POST /p HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n" + body,
    st.sampled_from([b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n"]),
    st.one_of(_chunked, st.just(b"hello")),
)


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    """A good stream of requests with a few bytes changed."""
    good = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    good += b"POST /q HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    good += b"GET /r HTTP/1.1\r\nHost: a\r\n\r\n"
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data) - 1))
        kind = draw(st.integers(0, 2))
        # Left out because the two others refuse it and the RFCs allow it: a tab behind `chunked`, bytes beyond ASCII in targets.
        byte = draw(st.sampled_from(list(b"\r\n \0:;,0159aX\x0b\x7f")))
        if kind == 0:
            data[at] = byte
        elif kind == 1:
            data.insert(at, byte)
        else:
            del data[at]
    return bytes(data)


_stream = st.one_of(
    st.lists(st.one_of(_request, _plain), min_size=1, max_size=3).map(b"".join),
    _mutated(),
)


def without_empty_lines(data: bytes) -> bytes:
    while data.startswith(b"\r\n"):
        data = data[2:]
    return data


@settings(max_examples=700, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=_stream)
def test_what_reaches_the_upstream_has_one_reading(place: Place, data: bytes) -> None:
    place.upstream.requests.clear()
    with Client(place.port) as client:
        try:
            client.send(data)
            client.half_close()
            client.read_all()
        except OSError:
            client.ended = True
    seen: list[Reading] = []
    for request in list(place.upstream.requests):
        if not request.complete:
            break  # passed on as it came, and then broken off: no request for anyone
        reading = [(request.method, request.target, request.body)]
        assert by_ours(request.raw) == by_gunicorn(request.raw) == reading
        found, foreign = by_llhttp(request.raw)
        assert foreign or found == reading
        seen += reading
    assert not place.upstream.garbage
    theirs, foreign = by_llhttp(without_empty_lines(data))
    assert seen[: len(theirs)] == theirs[: len(seen)], (seen, theirs)
    assert foreign or len(seen) <= len(theirs), (seen, theirs)
    others = by_gunicorn(without_empty_lines(data))
    # gunicorn may stop before us (it refuses some names that we drop), but never reads anything else.
    assert seen[: len(others)] == others[: len(seen)], (seen, others)


def test_it_still_works(place: Place) -> None:
    assert fetch(place.port).body == b"ok"
