"""Broken and hostile upstreams, and the client's view of them: a table of bytes, through the whole proxy.

Each case is a sentence, the bytes that the upstream sends, how it then ends, and the expected response. After every case the next
requests, on the same connection and on another, get their own answers; a connection that carried a fault carries nothing more;
and one line of the log names the server and says why.
"""

from __future__ import annotations

import gzip
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import (
    Client,
    Recorded,
    Recorder,
    Response,
    Running,
    Wire,
    chunked,
    fetch,
    free_port,
    parse_response,
    reply,
    request_bytes,
    run_proxy,
    wait_until,
)
from tests.support.peers import inside, memory, nothing_left

CONFIGURATION = """
worker_processes 1;
events {{ worker_connections 512; }}
http {{
    log_format short '$request_uri $status $body_bytes_sent $upstream_addr $upstream_status';
    access_log logs/access.log short;
    client_max_body_size 0;
    upstream echo {{ server {address} max_fails=0; }}
    upstream secure {{ server {address} max_fails=0; }}
    upstream full {{ server 127.0.0.1:{full} max_fails=0; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://echo; }}
        location /unbuffered/ {{ proxy_pass http://echo; proxy_buffering off; proxy_request_buffering off; }}
        location /secure/ {{ proxy_pass https://secure; }}
        location = /leases {{ access_log off; wsgi_proxy_status json; }}
        location /upgrade/ {{
            proxy_pass http://echo;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}
    }}
    server {{
        listen 127.0.0.1:{hasty};
        proxy_connect_timeout 1500ms;
        proxy_read_timeout 1500ms;
        proxy_send_timeout 1500ms;
        location / {{ proxy_pass http://echo; }}
        location /unbuffered/ {{ proxy_pass http://echo; proxy_buffering off; proxy_request_buffering off; }}
        location /secure/ {{ proxy_pass https://secure; }}
        location /full/ {{ proxy_pass http://full; }}
    }}
}}
"""

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"


@dataclass(frozen=True)
class Whole:
    """The expected response, complete."""

    body: bytes = b"hello"
    status: int = 200
    kept: bool | None = None
    """True if the upstream's connection carries the next request; None if both are right."""


CUT = "cut"
"""A response that is visibly incomplete, or a 502 if the fault arrived together with the head."""


@dataclass(frozen=True)
class Case:
    sentence: str
    data: bytes
    expected: Whole | int | str
    end: str = ""
    """"": the upstream waits for the next request; close, reset, or hold (silent with an open connection)."""
    method: str = "GET"


def head(*lines: bytes, body: bytes = b"hello") -> bytes:
    """A 200 of these field lines."""
    return OK + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


STATUS_LINES = [
    Case("no head at all, as HTTP/0.9", b"<html>hello</html>\r\n", 502, "close"),
    Case("no head and no line end", b"hello", 502, "close"),
    Case("garbage that never ends a line", b"\x00\x01\x02\x03", 502, "hold"),
    Case("an SSH server", b"SSH-2.0-OpenSSH_9.2\r\n", 502, "hold"),
    Case("a TLS alert", b"\x15\x03\x03\x00\x02\x02\x46", 502, "close"),
    Case("ICY for HTTP", b"ICY 200 OK\r\nContent-Length: 5\r\n\r\nhello", 502),
    Case("a line of HTTP/2", b"HTTP/2 200\r\ncontent-length: 5\r\n\r\nhello", 502),
    Case("HTTP/2.0", b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", 502),
    Case("HTTP/0.9 by name", b"HTTP/0.9 200 OK\r\nContent-Length: 5\r\n\r\nhello", 502),
    Case("a lower-case version", b"http/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 502),
    Case("a version with a sign", b"HTTP/+1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 502),
    Case("no version", b"HTTP 200 OK\r\nContent-Length: 5\r\n\r\nhello", 502),
    Case("status 99", b"HTTP/1.1 99 Low\r\nContent-Length: 5\r\n\r\nhello", 502),
    Case("status 1000", b"HTTP/1.1 1000 High\r\nContent-Length: 5\r\n\r\nhello", 502),
    Case("status -1", b"HTTP/1.1 -1 Negative\r\nContent-Length: 5\r\n\r\nhello", 502),
    Case("status abc", b"HTTP/1.1 abc Word\r\nContent-Length: 5\r\n\r\nhello", 502),
    Case("status 000", b"HTTP/1.1 000 None\r\nContent-Length: 5\r\n\r\nhello", 502),
    Case("status 2e2", b"HTTP/1.1 2e2 Float\r\nContent-Length: 5\r\n\r\nhello", 502),
    Case("no status", b"HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 502),
    Case("two spaces before the status", b"HTTP/1.1  200 OK\r\nContent-Length: 5\r\n\r\nhello", 502),
    Case("a tab before the status", b"HTTP/1.1\t200 OK\r\nContent-Length: 5\r\n\r\nhello", 502),
    Case("a NUL in the reason", b"HTTP/1.1 200 O\0K\r\nContent-Length: 5\r\n\r\nhello", 502),
    Case("a bare CR in the reason", b"HTTP/1.1 200 O\rK\r\nContent-Length: 5\r\n\r\nhello", 502),
    Case("an empty line first", b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 502),
    Case("a space first", b" HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 502),
    Case("no reason, with its space", b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello", Whole(kept=True)),
    Case("no reason, without its space", b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", Whole(kept=True)),
    Case("a reason in latin-1", b"HTTP/1.1 200 Sch\xf6n\r\nContent-Length: 5\r\n\r\nhello", Whole(kept=True)),
    Case("an unknown status", b"HTTP/1.1 299 Odd\r\nContent-Length: 5\r\n\r\nhello", Whole(status=299, kept=True)),
    Case("status 999", b"HTTP/1.1 999 Odd\r\nContent-Length: 5\r\n\r\nhello", Whole(status=999, kept=True)),
    Case("status 600", b"HTTP/1.1 600 Odd\r\nContent-Length: 5\r\n\r\nhello", Whole(status=600, kept=True)),
    Case("HTTP/1.0 with a length", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", Whole(kept=False)),
    Case(
        "HTTP/1.0 with keep-alive",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
        Whole(kept=True),
    ),
    Case("HTTP/1.9", b"HTTP/1.9 200 OK\r\nContent-Length: 5\r\n\r\nhello", Whole()),
]

FIELDS = [
    Case("bare LFs for line ends", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", Whole(kept=True)),
    Case("one bare LF among the fields", b"HTTP/1.1 200 OK\r\nX-A: 1\nContent-Length: 5\r\n\r\nhello", Whole(kept=True)),
    Case("a bare LF for the empty line", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\nhello", Whole(kept=True)),
    Case("a bare CR in a value", head(b"X-A: a\rContent-Length: 0", b"Content-Length: 5"), 502),
    Case("bare CRs for line ends", b"HTTP/1.1 200 OK\rContent-Length: 5\r\rhello", 502, "close"),
    Case("a NUL in a value", head(b"X-A: a\0b", b"Content-Length: 5"), 502),
    Case("a NUL in a name", head(b"X-\0A: b", b"Content-Length: 5"), 502),
    Case("an escape in a value", head(b"X-A: \x1b[2J", b"Content-Length: 5"), 502),
    Case("a DEL in a value", head(b"X-A: \x7f", b"Content-Length: 5"), 502),
    Case("folding", head(b"X-A: a", b" b", b"Content-Length: 5"), 502),
    Case("folding by a tab", head(b"X-A: a", b"\tContent-Length: 0", b"Content-Length: 5"), 502),
    Case("folding of the first line", b"HTTP/1.1 200 OK\r\n X-A: a\r\nContent-Length: 5\r\n\r\nhello", 502),
    Case("a line without a colon", head(b"X-A", b"Content-Length: 5"), 502),
    Case("a length behind a line without a colon", head(b"just words", b"Content-Length: 5"), 502),
    Case("an empty name", head(b": a", b"Content-Length: 5"), 502),
    Case("a space within a name", head(b"X A: a", b"Content-Length: 5"), 502),
    Case("a bracket in a name", head(b"X[A]: a", b"Content-Length: 5"), 502),
    Case("a name beyond ASCII", head(b"X-\xe9: a", b"Content-Length: 5"), 502),
    Case("a space before the length's colon", head(b"Content-Length : 5"), Whole()),
    Case("an empty value", head(b"X-A:", b"Content-Length: 5"), Whole(kept=True)),
    Case("values beyond ASCII", head(b"X-A: \xe9\xff", b"Content-Length: 5"), Whole(kept=True)),
    Case("tabs around values", head(b"X-A:\ta\t", b"Content-Length:\t5\t"), Whole(kept=True)),
    Case("500 fields", head(*[b"X-%d: %d" % (n, n) for n in range(500)], b"Content-Length: 5"), Whole(kept=True)),
    Case("20,000 fields", head(*[b"X-%d: %d" % (n, n) for n in range(20_000)], b"Content-Length: 5"), 502),
    Case("a field of 30 KB", head(b"X-A: " + b"a" * 30_000, b"Content-Length: 5"), Whole(kept=True)),
    Case("a field of 1 MB", head(b"X-A: " + b"a" * 1_000_000, b"Content-Length: 5"), 502),
    Case("a name of 1 MB", head(b"a" * 1_000_000 + b": a", b"Content-Length: 5"), 502),
    Case("a reason of 1 MB", b"HTTP/1.1 200 " + b"a" * 1_000_000 + b"\r\nContent-Length: 5\r\n\r\nhello", 502),
]

LENGTHS = [
    Case("two lengths that differ", head(b"Content-Length: 5", b"Content-Length: 6"), 502, "hold"),
    Case("two lengths that differ, the first too long", head(b"Content-Length: 50", b"Content-Length: 5"), 502, "hold"),
    Case("a length twice", head(b"Content-Length: 5", b"Content-Length: 5"), 502),
    Case("a list of lengths", head(b"Content-Length: 5, 5"), 502),
    Case("a list of lengths that differ", head(b"Content-Length: 5, 6"), 502),
    *[
        Case(f"Content-Length: {value.decode('latin-1')!r}", head(b"Content-Length: " + value), 502)
        for value in (b"+5", b"-5", b"-0", b"0x5", b"5.0", b"5_0", b"5 5", b"five", b"", b"5;", b"5,", b"\xb25", b"1e1", b"'5'")
    ],
    Case("a length above 63 bits", head(b"Content-Length: 9223372036854775808"), 502),
    Case("a length above 64 bits", head(b"Content-Length: 18446744073709551621"), 502),
    Case("a length of 400 digits", head(b"Content-Length: " + b"0" * 399 + b"5"), 502),
    Case("leading zeros", head(b"Content-Length: 005"), Whole()),
    Case("a huge length that is not kept", head(b"Content-Length: 9223372036854775807"), CUT, "close"),
    Case("less body than the length, then the end", head(b"Content-Length: 6"), CUT, "close"),
    Case("less body than the length, then a reset", head(b"Content-Length: 6"), CUT, "reset"),
    Case("less body than the length, then silence", head(b"Content-Length: 6"), CUT, "hold"),
    Case("no byte of a promised body", head(b"Content-Length: 6", body=b""), CUT, "close"),
    Case("no byte of a promised body, then silence", head(b"Content-Length: 6", body=b""), CUT, "hold"),
    Case("more body than the length", head(b"Content-Length: 5", body=b"hello and more"), Whole(kept=False)),
    Case("two answers at once", HELLO + head(b"Content-Length: 4", body=b"evil"), Whole(kept=False)),
    Case("a chunked answer and another", CHUNKED + chunked(b"hello") + HELLO, Whole(kept=False)),
    Case("an empty body and an answer", head(b"Content-Length: 0", body=HELLO), Whole(b"", kept=False)),
    Case("no length, until the end", head(b"X-A: a"), Whole(kept=False), "close"),
    Case("no length, until a reset", head(b"X-A: a"), CUT, "reset"),
    Case("no length, then silence", head(b"X-A: a"), CUT, "hold"),
    Case("no length and no body", head(b"X-A: a", body=b""), Whole(b"", kept=False), "close"),
    Case("no length but keep-alive", head(b"Connection: keep-alive"), Whole(kept=False), "close"),
    Case("HTTP/1.0 until the end", b"HTTP/1.0 200 OK\r\n\r\nhello", Whole(kept=False), "close"),
    Case("HTTP/1.0 until a reset", b"HTTP/1.0 200 OK\r\n\r\nhello", CUT, "reset"),
    Case("a length and close", head(b"Content-Length: 5", b"Connection: close"), Whole(kept=False), "close"),
    Case("a length and close, left open", head(b"Content-Length: 5", b"Connection: Close, x"), Whole(kept=False)),
    Case("close in a second Connection", head(b"Connection: x", b"Connection: close", b"Content-Length: 5"), Whole(kept=False)),
    Case("Keep-Alive with parameters", head(b"Keep-Alive: timeout=5, max=9", b"Content-Length: 5"), Whole(kept=True)),
]

CODINGS = [
    *[
        Case(f"Transfer-Encoding: {value.decode()!r}", head(b"Transfer-Encoding: " + value, body=chunked(b"hello")), 502)
        for value in (
            b"xchunked",
            b"identity",
            b"gzip, chunked",
            b"chunked, chunked",
            b"chunked, identity",
            b"chunked, gzip",
            b"gzip",
            b"deflate",
            b"chunkedx",
            b"chunked;a=b",
            b'"chunked"',
            b"",
            b",",
            b"chun ked",
        )  # fmt: skip
    ],
    Case(
        "chunked on two lines",
        head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=chunked(b"hello")),
        502,
    ),
    Case(
        "identity and chunked on two lines",
        head(b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked", body=chunked(b"hello")),
        502,
    ),
    Case("a vertical tab before chunked", head(b"Transfer-Encoding: \x0bchunked", body=chunked(b"hello")), 502),
    Case(
        "a length and chunked",
        head(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=chunked(b"hello")),
        502,
    ),
    Case(
        "chunked and a length",
        head(b"Transfer-Encoding: chunked", b"Content-Length: 15", body=chunked(b"hello")),
        502,
    ),
    Case("Chunked in capitals", head(b"Transfer-Encoding: CHUNKED", body=chunked(b"hello")), Whole(kept=True)),
    Case(
        "chunked in HTTP/1.0",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"hello"),
        Whole(kept=False),
    ),
]


def size(line: bytes, rest: bytes = b"hello\r\n0\r\n\r\n") -> bytes:
    """A chunked answer whose first size line is `line`, line end included."""
    return CHUNKED + line + rest


CHUNKS = [
    *[
        Case(f"chunk size {line!r}", size(line + b"\r\n"), CUT)
        for line in (b"0x5", b"5_0", b" 5", b"5 ", b"+5", b"-5", b"", b";a", b"g", b"5 5", b"5\t", b"\x005", b"5,", b"0" * 40)
    ],
    Case("a chunk size of 64 bits", size(b"ffffffffffffffff\r\n"), CUT),
    Case("a chunk size that wraps to 5", size(b"10000000000000005\r\n"), CUT),
    Case("a bare LF behind the size", size(b"5\n"), CUT),
    Case("a bare CR behind the size", size(b"5\r"), CUT),
    Case("no line end behind a chunk", size(b"5\r\n", b"hello0\r\n\r\n"), CUT),
    Case("a bare LF behind a chunk", size(b"5\r\n", b"hello\n0\r\n\r\n"), CUT),
    Case("a chunk that is longer than its size", size(b"5\r\n", b"hello!\r\n0\r\n\r\n"), CUT),
    Case("a chunk that is shorter than its size", size(b"6\r\n", b"hello\r\n0\r\n\r\n"), CUT, "close"),
    Case("a bare LF for the last line", size(b"5\r\n", b"hello\r\n0\r\n\n"), CUT),
    Case("a bare LF in an extension", size(b"5;a\nb\r\n"), CUT),
    Case("a NUL in an extension", size(b"5;a=\0\r\n"), CUT),
    Case("a size line without an end", size(b"5;" + b"a" * 200_000, b""), CUT, "hold"),
    Case("trailers without an end", size(b"0\r\n", b"X-A: b\r\n" * 50_000), CUT, "hold"),
    Case("a trailer that is no field", size(b"5\r\n", b"hello\r\n0\r\nno colon\r\n\r\n"), CUT),
    Case("the end before a size", CHUNKED, CUT, "close"),
    Case("the end within a size", CHUNKED + b"5", CUT, "close"),
    Case("the end behind a size", CHUNKED + b"5\r\n", CUT, "close"),
    Case("the end within a chunk", CHUNKED + b"5\r\nhel", CUT, "close"),
    Case("a reset within a chunk", CHUNKED + b"5\r\nhel", CUT, "reset"),
    Case("silence within a chunk", CHUNKED + b"5\r\nhel", CUT, "hold"),
    Case("the end behind a chunk's data", CHUNKED + b"5\r\nhello", CUT, "close"),
    Case("the end behind a chunk", CHUNKED + b"5\r\nhello\r\n", CUT, "close"),
    Case("silence behind a chunk", CHUNKED + b"5\r\nhello\r\n", CUT, "hold"),
    Case("the end behind the last size", CHUNKED + b"5\r\nhello\r\n0\r\n", CUT, "close"),
    Case("the end within the last line end", CHUNKED + b"5\r\nhello\r\n0\r\n\r", CUT, "close"),
    Case("the end within trailers", CHUNKED + b"5\r\nhello\r\n0\r\nX-A: b\r\n", CUT, "close"),
    Case("a reset before the last line end", CHUNKED + b"5\r\nhello\r\n0\r\n", CUT, "reset"),
    Case("extensions", size(b'5;a=b;c="d"\r\n'), Whole(kept=True)),
    Case("leading zeros", size(b"0005\r\n"), Whole(kept=True)),
    Case("one byte a chunk", CHUNKED + chunked(*[b"%c" % byte for byte in b"hello"]), Whole(kept=True)),
    Case("an empty body", CHUNKED + b"0\r\n\r\n", Whole(b"", kept=True)),
    Case("an empty body and bytes", CHUNKED + b"0\r\n\r\nabc", Whole(b"", kept=False)),
    Case("chunked and close", CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n0\r\n\r\n"), Whole(b"", kept=False)),
]

BODILESS = [
    Case("a body behind a 204", b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello", Whole(b"", 204, kept=False)),
    Case(
        "chunks behind a 204",
        b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Whole(b"", 204, kept=False),
    ),
    Case("a body behind a 304", b"HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\nhello", Whole(b"", 304, kept=False)),
    Case("a 304 with a length", b"HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n", Whole(b"", 304, kept=True)),
    Case("a body for a HEAD", HELLO, Whole(b"", kept=False), method="HEAD"),
    Case("chunks for a HEAD", CHUNKED + chunked(b"hello"), Whole(b"", kept=False), method="HEAD"),
    Case("a HEAD's length", head(b"Content-Length: 5", body=b""), Whole(b"", kept=True), method="HEAD"),
    Case("a HEAD without a length", head(b"X-A: a", body=b""), Whole(b""), method="HEAD"),
    Case("a HEAD that is to be chunked", CHUNKED, Whole(b"", kept=True), method="HEAD"),
]

INTERIM = [
    *[
        Case(f"{status} first", b"HTTP/1.1 %d X\r\nX-A: a\r\n\r\n" % status + HELLO, Whole(kept=True))
        for status in (100, 102, 103, 110, 199)
    ],
    Case("many 1xx first", b"HTTP/1.1 100 X\r\n\r\nHTTP/1.1 102 X\r\n\r\n" * 2 + HELLO, Whole(kept=True)),
    Case("a 100 with a length", b"HTTP/1.1 100 X\r\nContent-Length: 0\r\n\r\n" + HELLO, Whole()),
    Case("a 1xx and then the end", b"HTTP/1.1 103 X\r\n\r\n", 502, "close"),
    Case("a 1xx and then silence", b"HTTP/1.1 103 X\r\n\r\n", 504, "hold"),
    Case("a flood of 100", b"HTTP/1.1 100 X\r\n\r\n" * 20_000 + HELLO, 502),
    Case("a 101 without a request for it", b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello", 502, "hold"),
    Case("a 101 without a request for it, and a response", b"HTTP/1.1 101 X\r\n\r\n" + HELLO, 502),
]

ENDS = [
    Case("nothing, and the end", b"", 502, "close"),
    Case("nothing, and a reset", b"", 502, "reset"),
    Case("nothing, and silence", b"", 504, "hold"),
    Case("the end within the status line", b"HTTP/1.1 20", 502, "close"),
    Case("the end behind the status line", b"HTTP/1.1 200 OK\r\n", 502, "close"),
    Case("the end within a field", b"HTTP/1.1 200 OK\r\nContent-Le", 502, "close"),
    Case("the end behind the fields", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", 502, "close"),
    Case("the end within the empty line", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r", 502, "close"),
    Case("a reset within the fields", b"HTTP/1.1 200 OK\r\nContent-Le", 502, "reset"),
    Case("silence within the fields", b"HTTP/1.1 200 OK\r\nContent-Le", 504, "hold"),
    Case("silence within the status line", b"HTTP/1.1 20", 504, "hold"),
]

CASES = STATUS_LINES + FIELDS + LENGTHS + CODINGS + CHUNKS + BODILESS + INTERIM + ENDS


class Place:
    """The proxy, its upstream, and the state after a case."""

    def __init__(self, proxy: Running, upstream: Recorder, hasty: int) -> None:
        self.proxy = proxy
        self.upstream = upstream
        self.port = proxy.port
        #: Where an upstream that pauses for 1.5 s is given up; at the other port it has a minute.
        self.hasty = hasty
        self.released = threading.Event()
        self._script: Callable[[Recorded, Wire], bytes | None] = lambda request, wire: None
        upstream.response = self.response

    def response(self, request: Recorded, wire: Wire) -> bytes | None:
        if "/own-" in request.target:
            return reply(request.target.encode())
        return self._script(request, wire)

    def plays(self, script: Callable[[Recorded, Wire], bytes | None]) -> None:
        self.upstream.requests.clear()
        self._script = script

    def sends(self, data: bytes, end: str = "") -> None:
        """Script: these bytes, and an end of that kind."""
        released = self.released = threading.Event()

        def script(request: Recorded, wire: Wire) -> None:
            wire.send(data)
            if end == "close":
                wire.close()
            elif end == "reset":
                # The bytes must arrive before the reset, which would overtake them.
                time.sleep(0.05)
                wire.reset()
            elif end == "hold":
                released.wait(30)

        self.plays(script)

    def mark(self) -> int:
        return len(self.proxy.log())

    def faults(self, mark: int) -> list[str]:
        """Lines of the error log since the mark, from `error` upwards."""
        return [line for line in self.proxy.log()[mark:].splitlines() if re.search(r"\[(error|crit|alert|emerg)\]", line)]

    def check_others(self, client: Client | None) -> None:
        """The next request, on this connection and on a new one, gets its own answer."""
        if client is not None:
            assert client.exchange(request_bytes("/own-same")).body == b"/own-same"
        for number in range(2):
            assert fetch(self.port, f"/own-{number}").body == b"/own-%d" % number

    def used(self) -> set[int]:
        """The upstream's connections that carried something other than the requests after a case."""
        return {request.connection for request in self.upstream.requests if "/own-" not in request.target}

    def used_after(self) -> set[int]:
        return {request.connection for request in self.upstream.requests if "/own-" in request.target}


@pytest.fixture(scope="module")
def full() -> Iterator[int]:
    """The port of a listener whose queue is full: connecting to it gets no answer."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        for _ in range(2):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        yield listener.getsockname()[1]
        for filler in fillers:
            filler.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, full: int) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp("hostile")
    with Recorder() as upstream:
        hasty = free_port()
        text = CONFIGURATION.format(address=upstream.address, port=free_port(), hasty=hasty, full=full)
        with run_proxy(text, folder, env=inside(folder / "told")) as proxy, nothing_left(proxy, folder / "told"):
            yield Place(proxy, upstream, hasty)
            assert "Traceback" not in proxy.log(), proxy.log()


def check_refused(place: Place, case: Case, client: Client, response: Response, mark: int) -> None:
    assert response.status == case.expected and response.complete, response
    assert b"hello" not in response.body
    wait_until(lambda: place.faults(mark), "a line in the log")
    assert len(place.faults(mark)) == 1, place.faults(mark)
    assert place.upstream.address in place.faults(mark)[0]


def check_cut(place: Place, client: Client, response: Response, mark: int) -> None:
    if response.status == 502:
        # The fault was seen before anything went out.
        assert response.complete and b"hello" not in response.body
    else:
        assert response.status == 200 and not response.complete, response
        assert client.ended
    wait_until(lambda: place.faults(mark), "a line in the log")
    assert len(place.faults(mark)) == 1, place.faults(mark)
    assert place.upstream.address in place.faults(mark)[0]


@pytest.mark.parametrize("where", ["/", "/unbuffered/"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sentence)
def test_what_comes_out(place: Place, case: Case, where: str) -> None:
    place.sends(case.data, case.end)
    mark = place.mark()
    # Only for cases about silence: a fault is seen earlier, however long the silence lasts.
    silent = case.end == "hold" and case.expected != 502
    with Client(place.hasty if silent else place.port) as client:
        client.send(request_bytes(where + "case", case.method))
        try:
            response = client.read_response(case.method)
        except ConnectionError:
            # A reset is the plainest sign of an incomplete response.
            assert case.expected == CUT, "reset"
            response = Response(200, "", "", [])
            client.ended = True
        if isinstance(case.expected, Whole):
            assert (response.status, response.body) == (case.expected.status, case.expected.body)
            assert response.complete and not client.buffer
            if case.expected.status == 204:
                assert not response.get("Content-Length") and not response.get("Transfer-Encoding")
        elif case.expected == CUT:
            check_cut(place, client, response, mark)
        else:
            check_refused(place, case, client, response, mark)
        place.released.set()
        closes = client.ended or "close" in (response.get("Connection") or "").lower()
        place.check_others(None if closes else client)
    if isinstance(case.expected, Whole):
        if case.expected.kept is not None:
            assert (place.used() >= place.used_after()) == case.expected.kept
    else:
        assert not place.used() & place.used_after(), "a connection that carried a fault was used again"


# --- what takes more than a row of a table ----------------------------------------------------------------------------------


def until(event: threading.Event) -> Callable[[Wire], None]:
    """To do with a connection: nothing, until an event; then to close it."""

    def wait(wire: Wire) -> None:
        event.wait(30)
        wire.close()

    return wait


def test_a_head_in_single_bytes(place: Place) -> None:
    place.plays(lambda request, wire: wire.drip(head(b"X-A: a", b"Content-Length: 5"), 0.002))
    response = fetch(place.port)
    assert (response.status, response.body, response.get("X-A")) == (200, b"hello", "a")


def test_a_head_that_takes_longer_than_the_read_timeout_but_never_pauses_so_long(place: Place) -> None:
    place.plays(lambda request, wire: wire.drip(head(b"X-Abc: abc", b"Content-Length: 5"), 0.3, 6))
    assert fetch(place.hasty).body == b"hello"


def test_a_body_that_takes_longer_than_the_read_timeout_but_never_pauses_so_long(place: Place) -> None:
    place.plays(lambda request, wire: wire.drip(HELLO, 0.3, 6))
    assert fetch(place.hasty).body == b"hello"


@pytest.mark.ours_alone("trailers")
def test_chunks_in_single_bytes(place: Place) -> None:
    place.plays(lambda request, wire: wire.drip(CHUNKED + chunked(b"hello, ", b"world", trailers=[("X-Sum", "9")]), 0.001))
    response = fetch(place.port)
    assert (response.body, response.complete, response.trailers) == (b"hello, world", True, [("X-Sum", "9")])


@pytest.mark.parametrize("piece", [b"X-Field: value\r\n" * 4000, b"a" * 64_000, b"HTTP/1.1 100 Continue\r\n\r\n" * 2500])
def test_a_head_without_an_end_costs_no_memory(place: Place, piece: bytes) -> None:
    """100 MB of fields, of one line, or of 1xx answers."""

    def flood(request: Recorded, wire: Wire) -> None:
        wire.send(OK if not piece.startswith(b"HTTP") else piece)
        for _ in range(100_000_000 // len(piece)):
            wire.send(piece)

    place.plays(flood)
    (worker,) = place.proxy.children()
    before = memory(worker)
    mark = place.mark()
    assert fetch(place.port).status == 502
    assert memory(worker) - before < 8_000_000
    assert len(place.faults(mark)) == 1
    place.check_others(None)


def test_a_chunk_of_16_megabytes(place: Place) -> None:
    body = bytes(range(256)) * 65536
    place.plays(lambda request, wire: wire.send(CHUNKED + chunked(body)))
    with Client(place.port) as client:
        client.send(request_bytes("/", close=True))
        response = parse_response(client.read_all())
    assert response is not None and response.complete and response.body == body


def test_what_comes_on_an_idle_connection_answers_nothing(place: Place) -> None:
    """An unsolicited answer, such as a server's 408 before it closes, is not the next client's."""
    wires: list[Wire] = []

    def script(request: Recorded, wire: Wire) -> bytes:
        wires.append(wire)
        return reply(b"first")

    place.plays(script)
    assert fetch(place.port, "/first").body == b"first"
    wires[-1].send(reply(b"evil", 408))
    time.sleep(0.05)
    for number in range(3):
        assert fetch(place.port, f"/own-{number}").body == b"/own-%d" % number
    assert not place.used() & place.used_after()


def test_a_body_longer_than_announced_that_comes_late_answers_nothing(place: Place) -> None:
    def script(request: Recorded, wire: Wire) -> None:
        wire.send(HELLO)
        time.sleep(0.03)
        wire.send(HELLO.replace(b"hello", b"wrong"))

    place.plays(script)
    assert fetch(place.port, "/first").body == b"hello"
    time.sleep(0.1)
    for number in range(3):
        assert fetch(place.port, f"/own-{number}").body == b"/own-%d" % number


def test_an_answer_before_the_request(place: Place) -> None:
    """Bytes on a new connection before its first request are the response to no request, or to the first."""
    place.plays(lambda request, wire: reply(b"real"))
    place.upstream.on_connect = lambda wire: wire.send(reply(b"early"))
    try:
        with Client(place.port) as client:
            first = client.exchange(request_bytes("/first"))
            assert first.status in (200, 502)
    finally:
        place.upstream.on_connect = None
    for number in range(3):
        assert fetch(place.port, f"/own-{number}").body == b"/own-%d" % number


def test_an_upstream_that_accepts_and_closes(place: Place) -> None:
    place.plays(lambda request, wire: None)
    for pause in (0.0, 0.02):

        def shut(wire: Wire, pause: float = pause) -> None:
            time.sleep(pause)
            wire.reset() if pause else wire.close()

        place.upstream.on_connect = shut
        try:
            mark = place.mark()
            # One connection may still be kept from before.
            assert [fetch(place.hasty, "/x", "POST", body=b"x").status for _ in range(3)][-1] == 502
            assert place.upstream.address in place.faults(mark)[-1]
        finally:
            place.upstream.on_connect = None
    place.check_others(None)


def test_a_connection_that_is_not_accepted(place: Place) -> None:
    mark = place.mark()
    assert fetch(place.hasty, "/full/").status == 504
    assert len(place.faults(mark)) == 1 and "while connecting to upstream" in place.faults(mark)[0]


@pytest.mark.parametrize("response", [b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n", b"", b"\x15\x03\x01\x00\x02\x02\x28"])
def test_an_upstream_that_is_to_speak_tls_and_does_not(place: Place, response: bytes) -> None:
    place.plays(lambda request, wire: None)

    def speak(wire: Wire) -> None:
        wire.send(response)
        wire.close()

    place.upstream.on_connect = speak
    try:
        mark = place.mark()
        assert fetch(place.port, "/secure/").status == 502
        assert len(place.faults(mark)) == 1 and "SSL" in place.faults(mark)[0]
    finally:
        place.upstream.on_connect = None


def test_an_upstream_whose_handshake_never_ends(place: Place) -> None:
    ended = threading.Event()
    place.upstream.on_connect = until(ended)
    try:
        mark = place.mark()
        assert fetch(place.hasty, "/secure/").status == 504
        assert len(place.faults(mark)) == 1 and "SSL" in place.faults(mark)[0]
    finally:
        place.upstream.on_connect = None
        ended.set()


def test_an_upstream_whose_certificate_nobody_signed(place: Place, tmp_path: Path) -> None:
    """nginx verifies upstreams only if configured; then the reason is in the log."""
    trustme = pytest.importorskip("trustme")
    authority, other = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    bundle = tmp_path / "other.pem"
    other.cert_pem.write_to_path(str(bundle))
    with Recorder(tls=context) as upstream:
        text = f"""
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    server {{
        listen 127.0.0.1:{free_port()};
        location / {{
            proxy_pass https://{upstream.address};
            proxy_ssl_verify on; proxy_ssl_name localhost; proxy_ssl_trusted_certificate {bundle};
        }}
        location /any/ {{ proxy_pass https://{upstream.address}; }}
    }}
}}
"""
        with run_proxy(text, tmp_path) as proxy:
            assert fetch(proxy.port, "/any/").status == 200
            assert fetch(proxy.port).status == 502
            assert "certificate" in proxy.log() and upstream.address in proxy.log()


@pytest.mark.parametrize("where", ["/", "/unbuffered/"])
def test_an_upstream_that_does_not_take_the_upload(place: Place, where: str) -> None:
    ended = threading.Event()
    place.plays(lambda request, wire: until(ended)(wire))
    place.upstream.read_body = False
    mark = place.mark()
    try:
        with Client(place.hasty) as client:
            client.send(request_bytes(where, "POST", [("Content-Length", "60000000")]))
            try:
                for _ in range(60):
                    client.send(bytes(1_000_000))
            except ConnectionError:
                pass  # it has been answered
            assert client.read_response("POST").status == 504
    finally:
        ended.set()
        place.upstream.read_body = True
    assert len(place.faults(mark)) == 1 and "while sending request to upstream" in place.faults(mark)[0]


def test_a_reset_behind_a_whole_answer(place: Place) -> None:
    for framing in (HELLO, CHUNKED + chunked(b"hello")):
        place.sends(framing, "reset")
        assert fetch(place.port).body == b"hello"
        place.check_others(None)


def test_three_hundred_who_wait_for_a_silent_upstream(place: Place) -> None:
    """They hold up no other request, and all get their 504."""
    released = threading.Event()
    place.plays(lambda request, wire: until(released)(wire))
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(place.hasty)) for _ in range(300)]
        for client in clients:
            client.send(request_bytes("/silent", close=True))
        for number in range(20):
            assert fetch(place.port, f"/own-{number}").body == b"/own-%d" % number
        assert {client.read_response().status for client in clients} == {504}
    released.set()


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """As `place`, with an upstream that speaks TLS."""
    trustme = pytest.importorskip("trustme")
    folder: Path = tmp_path_factory.mktemp("encrypted")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with Recorder(tls=context) as upstream:
        text = CONFIGURATION.replace("http://echo", "https://echo")
        hasty = free_port()
        text = text.format(address=upstream.address, port=free_port(), hasty=hasty, full=1)
        with run_proxy(text, folder, env=inside(folder / "told")) as proxy, nothing_left(proxy, folder / "told"):
            yield Place(proxy, upstream, hasty)
            assert "Traceback" not in proxy.log(), proxy.log()


@pytest.mark.parametrize("where", ["/", "/unbuffered/"])
@pytest.mark.parametrize(
    "case",
    [
        case
        for case in CASES
        if case.end != "" and case.expected == CUT or case in ENDS or case in INTERIM or case.sentence.startswith("two ")
    ],
    ids=lambda case: case.sentence,
)
def test_what_comes_out_of_tls(encrypted: Place, case: Case, where: str) -> None:
    test_what_comes_out(encrypted, case, where)


# --- what crosses, and what does not ----------------------------------------------------------------------------------------


def test_fields_of_the_connection_stay_behind(place: Place) -> None:
    place.plays(
        lambda request, wire: reply(
            b"hello",
            headers=[
                ("Connection", "X-Hop, keep-alive"),
                ("X-Hop", "1"),
                ("Keep-Alive", "timeout=1"),
                ("Proxy-Connection", "keep-alive"),
                ("TE", "trailers"),
                ("Upgrade", "h2c"),
                ("X-End", "2"),
            ],
        )
    )
    with Client(place.port) as client:
        response = client.exchange(request_bytes("/"))
        names = {name.lower() for name, _ in response.headers}
        assert "x-end" in names
        assert not names & {"x-hop", "keep-alive", "proxy-connection", "te", "upgrade"}
        assert response.get("Connection") in (None, "keep-alive")


def test_cookies_repetitions_order_and_case_are_kept(place: Place) -> None:
    pairs = [("Set-Cookie", "a=1; Expires=Mon, 23 Nov 2026 08:00:00 GMT"), ("x-ODD", "1"), ("Set-Cookie", "b=2"), ("x-ODD", "0")]
    place.plays(lambda request, wire: reply(b"hello", headers=pairs))
    assert [pair for pair in fetch(place.port).headers if pair in pairs] == pairs


def test_compressed_bytes_are_left_alone(place: Place) -> None:
    packed = gzip.compress(b"hello" * 10_000)
    for framing in (
        OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed,
        OK + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(packed),
    ):
        place.sends(framing)
        response = fetch(place.port)
        assert (response.body, response.get("Content-Encoding")) == (packed, "gzip")


@pytest.mark.ours_alone("trailers")
def test_trailers_go_on_but_those_that_frame_route_or_authorize(place: Place) -> None:
    dangerous = ["Content-Length", "Transfer-Encoding", "Host", "Authorization", "Set-Cookie", "Connection", "Trailer", "Upgrade"]
    place.sends(CHUNKED + chunked(b"hello", trailers=[("X-Sum", "9"), *[(name, "7") for name in dangerous], ("X-End", "1")]))
    with Client(place.port) as client:
        response = client.exchange(request_bytes("/"))
        assert response.trailers == [("X-Sum", "9"), ("X-End", "1")]
        place.check_others(client)


def test_http_10_clients_get_the_bytes_without_chunks(place: Place) -> None:
    place.sends(CHUNKED + chunked(b"hello, ", b"world"))
    with Client(place.port) as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        raw = client.read_all()
    assert raw.endswith(b"\r\n\r\nhello, world") and b"chunked" not in raw


def test_a_cut_answer_to_an_http_10_client_is_reset(place: Place) -> None:
    """Without chunks and length the connection's end means that all is well."""
    place.sends(CHUNKED + b"5\r\nhello\r\n", "close")
    with Client(place.port) as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            while not client.ended:
                client.read_all()


# --- uploads that are answered early ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["/", "/unbuffered/"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("end", ["close", "", "reset"])
def test_a_refusal_before_the_upload_is_read(place: Place, where: str, framing: str, end: str) -> None:
    """The upstream says 413 when it has seen the head, and closes, or stays, or resets with our bytes unread."""

    def refuse(request: Recorded, wire: Wire) -> None:
        wire.send(reply(b"too much", 413, [("Connection", "close")]))
        if end == "close":
            wire.close()
        elif end == "reset":
            time.sleep(0.05)
            wire.reset()

    place.plays(refuse)
    place.upstream.read_body = False
    try:
        body = b"x" * 300_000
        with Client(place.port) as client:
            fields = [("Transfer-Encoding", "chunked")] if framing == "chunked" else [("Content-Length", "3000000")]
            client.send(request_bytes(where, "POST", fields))
            try:
                for _ in range(10):
                    client.send(b"%x\r\n%b\r\n" % (len(body), body) if framing == "chunked" else body)
                    time.sleep(0.01)
                if framing == "chunked":
                    client.send(b"0\r\n\r\n")
            except ConnectionError:
                pass  # the response may have arrived, and the connection ended
            response = client.read_response("POST")
        # A reset may overtake the response.
        assert (response.status, response.body) == (413, b"too much") or (end == "reset" and response.status == 502)
    finally:
        place.upstream.read_body = True
    place.check_others(None)


def test_an_answer_to_a_post_that_is_never_read(place: Place) -> None:
    """The connection with the unread body carries nothing more."""
    place.plays(lambda request, wire: reply(b"hello"))
    place.upstream.read_body = False
    try:
        assert fetch(place.port, "/case", "POST", body=b"GET /evil HTTP/1.1\r\n\r\n").body == b"hello"
    finally:
        place.upstream.read_body = True


# --- upgrades ---------------------------------------------------------------------------------------------------------------


UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "chat")]


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 101 X\r\n\r\n",
        b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: evil\r\n\r\n",
        b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    ],
    ids=["no Upgrade", "another protocol", "h2c"],
)
def test_a_101_to_something_that_was_not_asked_for(place: Place, data: bytes) -> None:
    """RFC 9110, 7.8: a server must not switch to a protocol that the client did not name."""
    place.sends(data, "hold")
    with Client(place.port) as client:
        client.send(request_bytes("/upgrade/", headers=UPGRADE))
        assert client.read_response().status == 502
        place.released.set()
    place.check_others(None)


def test_a_101_that_was_asked_for(place: Place) -> None:
    def echo(request: Recorded, wire: Wire) -> None:
        wire.send(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: Chat\r\n\r\nwelcome ")
        wire.send(wire.recv())
        wire.close()

    place.plays(echo)
    with Client(place.port) as client:
        client.send(request_bytes("/upgrade/", headers=UPGRADE) + b"hello")
        assert client.read_until(b"hello").endswith(b"\r\n\r\nwelcome hello")
    place.check_others(None)
