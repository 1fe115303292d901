"""framing: the ends of bodies, on which both sides of the proxy agree for all bytes. Pure: no socket is opened."""

from __future__ import annotations

import re

import httptools
import pytest
from gunicorn.config import Config
from gunicorn.http.errors import ParseException
from gunicorn.http.parser import RequestParser
from hypothesis import given, settings
from hypothesis import strategies as st

from wsgi_proxy.errors import ClientError, InvalidResponse, ProxyError
from wsgi_proxy.http.framing import MAX_LINE, MAX_TRAILERS, ChunkedDecoder, LengthDecoder, encode_end
from wsgi_proxy.http.request import RequestHead, parse_request_head
from wsgi_proxy.http.response import parse_response_head
from wsgi_proxy.http.syntax import Pairs


def chunk(data: bytes) -> bytes:
    """Return a block of content as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def decode(data: bytes, step: int = 0) -> tuple[bytes, Pairs, bytes] | None:
    """Return (content, trailers, rest) of a body that is fed in pieces of `step` bytes; None if it is incomplete."""
    decoder = ChunkedDecoder(ClientError)
    content = b""
    for at in range(0, len(data), step or len(data) or 1):
        content += b"".join(decoder.feed(data[at : at + step] if step else data))
    return (content, decoder.trailers, decoder.rest) if decoder.done else None


GOOD: dict[bytes, tuple[bytes, Pairs, bytes]] = {
    b"0\r\n\r\n": (b"", [], b""),
    b"5\r\nhello\r\n0\r\n\r\n": (b"hello", [], b""),
    b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET /": (b"hello world", [], b"GET /"),
    b"00005\r\nhello\r\n000\r\n\r\n": (b"hello", [], b""),
    b"A\r\n0123456789\r\n0\r\n\r\n": (b"0123456789", [], b""),
    b'5;a=b;c="d" ; e\r\nhello\r\n0;x\r\n\r\n': (b"hello", [], b""),
    b"5 \t;a\r\nhello\r\n0\r\n\r\n": (b"hello", [], b""),
    b"2\r\n\r\n\r\n0\r\n\r\n": (b"\r\n", [], b""),
    b"0\r\nX-Sum: 1 \r\nx-y:\r\n\r\nrest": (b"", [("X-Sum", "1"), ("x-y", "")], b"rest"),
    b"0\r\nContent-Length: 5\r\nHost: x\r\nX_Forwarded_For: y\r\nA: b\r\n\r\n": (b"", [("A", "b")], b""),
}


@pytest.mark.parametrize("data", GOOD)
@pytest.mark.parametrize("step", [0, 1, 2, 3, 7])
def test_good_chunks(data: bytes, step: int) -> None:
    assert decode(data, step) == GOOD[data]


@pytest.mark.parametrize("data", GOOD)
def test_a_chunked_body_that_ends_early_is_a_fault(data: bytes) -> None:
    content, _, rest = GOOD[data]
    whole = len(data) - len(rest)
    for end in range(whole):
        decoder = ChunkedDecoder(InvalidResponse)
        assert content.startswith(b"".join(decoder.feed(data[:end])))
        with pytest.raises(InvalidResponse):
            decoder.finish()
    decoder.feed(data[whole - 1 :])
    decoder.finish()


BAD: dict[str, bytes] = {
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "space before": b" 5\r\nhello\r\n0\r\n\r\n",
    "space after": b"5 \r\nhello\r\n0\r\n\r\n",
    "no digits": b"\r\nhello\r\n0\r\n\r\n",
    "extension alone": b";a\r\nhello\r\n0\r\n\r\n",
    "not hex": b"g\r\nhello\r\n0\r\n\r\n",
    "17 digits": b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    "more than 63 bits": b"8000000000000000\r\nhello\r\n0\r\n\r\n",
    "bare LF after the size": b"5\nhello\r\n0\r\n\r\n",
    "bare CR after the size": b"5\rhello\r\n0\r\n\r\n",
    "bare CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "bare LF in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "NUL in an extension": b"5;a\0b\r\nhello\r\n0\r\n\r\n",
    "bare LF after the data": b"5\r\nhello\n0\r\n\r\n",
    "no end after the data": b"5\r\nhello0\r\n\r\n",
    "data too long": b"5\r\nhello!\r\n0\r\n\r\n",
    "data too short": b"6\r\nhello\r\n0\r\n\r\n",
    "bare LF at the end": b"0\r\n\n",
    "bare LFs at the end": b"0\n\n",
    "long extension": b"5;" + b"a" * MAX_LINE + b"\r\nhello\r\n0\r\n\r\n",
    "endless extension": b"5;" + b"a" * MAX_LINE,
    "endless trailers": b"0\r\n" + b"A: b\r\n" * (MAX_TRAILERS // 6 + 1),
    "large trailers": b"0\r\nA: " + b"b" * MAX_TRAILERS + b"\r\n\r\n",
    "trailer without colon": b"0\r\nA\r\n\r\n",
    "trailer folded": b"0\r\nA: b\r\n c\r\n\r\n",
    "trailer with space before the colon": b"0\r\nA : b\r\n\r\n",
    "trailer with NUL": b"0\r\nA: \0\r\n\r\n",
    "trailer with bare CR": b"0\r\nA: b\rc\r\n\r\n",
    "trailer with bare LF": b"0\r\nA: b\nc: d\r\n\r\n",
}


def test_what_chunks_announce_is_bounded_before_it_comes() -> None:
    decoder = ChunkedDecoder(ClientError)
    decoder.feed(b"5\r\nhello\r\n")
    decoder.bound(11)
    assert decoder.feed(b"6\r\n wo") == [b" wo"]
    with pytest.raises(ClientError) as caught:
        decoder.feed(b"rld\r\n1\r\n")
    assert caught.value.status == 413
    late = ChunkedDecoder(ClientError)
    late.feed(b"ff\r\n")
    with pytest.raises(ClientError):
        late.bound(254)


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("step", [0, 1])
def test_bad_chunks(name: str, step: int) -> None:
    with pytest.raises(ClientError):
        decode(BAD[name], step)


def test_a_block_within_a_chunk_is_not_copied() -> None:
    decoder = ChunkedDecoder(ClientError)
    decoder.feed(b"100000\r\n")
    block = b"x" * 65536
    assert decoder.feed(block)[0] is block


def test_length() -> None:
    decoder = LengthDecoder(5, InvalidResponse)
    assert decoder.feed(b"hel") == [b"hel"] and decoder.feed(b"") == [] and not decoder.done
    with pytest.raises(InvalidResponse):
        decoder.finish()
    assert decoder.feed(b"lo!") == [b"lo"] and decoder.done and decoder.rest == b"!"
    assert decoder.feed(b"?") == [] and decoder.rest == b"!?"
    decoder.finish()
    nothing = LengthDecoder(0, InvalidResponse)
    assert nothing.done and nothing.feed(b"GET") == [] and nothing.rest == b"GET"


@given(st.lists(st.binary(min_size=1, max_size=40)), st.integers(1, 50), st.binary(max_size=5))
def test_what_we_write_we_read(blocks: list[bytes], step: int, rest: bytes) -> None:
    data = b"".join(map(chunk, blocks)) + encode_end([("X-A", "b"), ("X-C", "")]) + rest
    assert decode(data, step) == (b"".join(blocks), [("X-A", "b"), ("X-C", "")], rest)
    assert encode_end([]) == b"0\r\n\r\n"


# --- no bytes make two parsers disagree -------------------------------------------------------------------------------------


class _Oracle:
    """The parts of a request that httptools (llhttp) reads."""

    def __init__(self) -> None:
        self.body = b""
        self.pairs: Pairs = []
        self.complete = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete += 1


def _read(data: bytes) -> tuple[RequestHead, bytes, bytes] | None:
    """Return (head, body, rest) of a request; None if it is refused or incomplete."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        return None
    try:
        head = parse_request_head(data[:end])
        decoder = ChunkedDecoder(ClientError) if head.chunked else LengthDecoder(head.content_length or 0, ClientError)
        body = b"".join(decoder.feed(data[end:]))
    except ProxyError:
        return None
    return (head, body, decoder.rest) if decoder.done else None


def _gunicorn_body(data: bytes) -> bytes | None:
    """Return the body that gunicorn's parser reads; None if it refuses the request, as it does for some names."""
    try:
        request = next(RequestParser(Config(), iter([data]), ("127.0.0.1", 1)))
    except (ParseException, StopIteration):
        return None
    body: bytes = request.body.read()
    return body


def _as_response(head: RequestHead, body: bytes) -> bytes:
    """Return a response with the same fields and framing, as the proxy writes it."""
    fields = [(name, value) for name, value in head.pairs if name.lower() != "host"]
    text = "HTTP/1.1 200 OK\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
    written = (chunk(body) if body else b"") + encode_end([]) if head.chunked else body
    return text.encode("latin-1") + written


_ODD = [b"chunked", b"Chunked", b"identity", b"gzip", b"5", b"0", b"+5", b"5, 5", b"\x0b", b"\t", b" ", b"close", b"x"]
_NAMES = [b"Content-Length", b"content-length", b"Transfer-Encoding", b"TRANSFER-ENCODING", b"Transfer_Encoding", b"Connection",
          b"X", b"Content-Length ", b" Content-Length", b"Host", b"Trailer", b""]  # fmt: skip
_ENDS = [b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\n ", b"\0\r\n"]
_field = st.builds(
    lambda name, colon, value, end: name + colon + value + end,
    st.sampled_from(_NAMES),
    st.sampled_from([b": ", b":", b": ", b" : ", b":\t"]),
    st.lists(st.sampled_from(_ODD), max_size=3).map(b"".join),
    st.sampled_from(_ENDS),
)
_size = st.sampled_from([b"5", b"0", b"5;x", b"05", b"0x5", b"5 ", b"F", b"0"])
_body = st.one_of(
    st.sampled_from([b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n"]),
    st.just(b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
    st.builds(lambda a, b, c: a + b + b"hello" + b + c + b"\r\n\r\n", _size, st.sampled_from(_ENDS), _size),
)
_message = st.builds(
    lambda fields, body: b"POST / HTTP/1.1\r\nHost: a\r\n" + b"".join(fields) + b"\r\n" + body,
    st.lists(_field, max_size=4),
    _body,
)


@settings(max_examples=1500, deadline=None)
@given(_message)
def test_no_request_has_two_readings(data: bytes) -> None:
    read = _read(data)
    if read is None:
        return
    head, body, rest = read
    oracle = _Oracle()
    parser = httptools.HttpRequestParser(oracle)
    # llhttp keeps a tab at the end of a value, and refuses such a Transfer-Encoding.
    section, end, content = data[: len(data) - len(rest)].partition(b"\r\n\r\n")
    try:
        parser.feed_data(re.sub(rb"[ \t]+(?=\r\n|$)", b"", section) + end + content)
    except httptools.HttpParserError as error:
        pytest.fail(f"llhttp refuses what we accept: {error}")
    assert oracle.complete == 1 and oracle.body == body
    # llhttp reports a trailer like a field.
    fields = [(name, value.strip(" \t")) for name, value in oracle.pairs if name != "X"]
    assert fields == [pair for pair in head.pairs if pair[0] != "X"]
    reading = _gunicorn_body(data[: len(data) - len(rest)])
    assert reading is None or reading == body


@settings(max_examples=1500, deadline=None)
@given(_message)
def test_the_two_sides_agree(data: bytes) -> None:
    """A request that the client's side accepts ends at the same byte for the upstream's side."""
    read = _read(data)
    if read is None:
        return
    head, body, _ = read
    written = _as_response(head, body)
    end = written.find(b"\r\n\r\n") + 4
    response = parse_response_head(written[:end], "POST")
    assert (response.chunked, response.content_length) == (head.chunked, head.content_length)
    if not response.chunked and response.content_length is None:
        assert not body
        return
    decoder = (
        ChunkedDecoder(InvalidResponse) if response.chunked else LengthDecoder(response.content_length or 0, InvalidResponse)
    )
    assert b"".join(decoder.feed(written[end:])) == body
    assert decoder.done and not decoder.rest


@settings(max_examples=800, deadline=None)
@given(_body, st.integers(1, 6))
def test_pieces_make_no_difference(data: bytes, step: int) -> None:
    def outcome(step: int) -> object:
        try:
            return decode(data, step)
        except ClientError:
            return "refused"

    assert outcome(step) == outcome(0)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=60))
def test_garbage_raises_nothing_of_ours_but_refusals(data: bytes) -> None:
    for parse in (parse_request_head, parse_response_head):
        try:
            parse(data)
        except ProxyError:
            continue
    try:
        decode(data)
    except ClientError:
        return
