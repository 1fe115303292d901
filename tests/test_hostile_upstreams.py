"""What broken and hostile upstreams do, and what the client must then see: a table of bytes, through the whole proxy.

Each case is a sentence, the bytes that the upstream sends, how it then ends, and what must come out. After every case the next
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
from dataclasses import dataclass
from pathlib import Path

import pytest

from .support import (
    Client,
    Recorded,
    Recorder,
    Response,
    Running,
    Wire,
    chunked,
    fetch,
    free_port,
    reply,
    request_bytes,
    run_proxy,
    wait_until,
)

CONFIGURATION = """
worker_processes 1;
events {{ worker_connections 512; }}
http {{
    log_format short '$request_uri $status $body_bytes_sent $upstream_addr $upstream_status';
    access_log logs/access.log short;
    proxy_connect_timeout 700ms;
    proxy_read_timeout 700ms;
    proxy_send_timeout 700ms;
    client_max_body_size 0;
    upstream echo {{ server {address} max_fails=0; }}
    upstream secure {{ server {address} max_fails=0; }}
    upstream full {{ server 127.0.0.1:{full} max_fails=0; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://echo; }}
        location /unbuffered/ {{ proxy_pass http://echo; proxy_buffering off; proxy_request_buffering off; }}
        location /secure/ {{ proxy_pass https://secure; }}
        location /full/ {{ proxy_pass http://full; }}
        location = /leases {{ access_log off; wsgi_proxy_status json; }}
        location /upgrade/ {{
            proxy_pass http://echo;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}
    }}
}}
"""

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"


@dataclass(frozen=True)
class Whole:
    """The answer that must come, complete."""

    body: bytes = b"hello"
    status: int = 200
    kept: bool | None = None
    """Whether the upstream's connection carries the next request; None where both will do."""


CUT = "cut"
"""An answer that visibly does not end; or a 502, where the fault came in one piece with the head."""


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
    Case("bare LFs for line ends", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", 502),
    Case("one bare LF among the fields", b"HTTP/1.1 200 OK\r\nX-A: 1\nContent-Length: 5\r\n\r\nhello", 502),
    Case("a bare LF for the empty line", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\nhello", 502, "hold"),
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
            b"xchunked", b"identity", b"gzip, chunked", b"chunked, chunked", b"chunked, identity", b"chunked, gzip", b"gzip",
            b"deflate", b"chunkedx", b"chunked;a=b", b'"chunked"', b"", b",", b"chun ked",
        )
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
        for line in (b"0x5", b"5_0", b" 5", b"5 ", b"+5", b"-5", b"", b";a", b"g", b"5 5", b"5\t", b"\x005", b"5,", b"0" * 40 + b"5")
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
    Case("extensions", size(b"5;a=b;c=\"d\"\r\n"), Whole(kept=True)),
    Case("leading zeros", size(b"0005\r\n"), Whole(kept=True)),
    Case("one byte a chunk", CHUNKED + chunked(*[b"%c" % byte for byte in b"hello"]), Whole(kept=True)),
    Case("an empty body", CHUNKED + b"0\r\n\r\n", Whole(b"", kept=True)),
    Case("an empty body and bytes", CHUNKED + b"0\r\n\r\nabc", Whole(b"", kept=False)),
    Case("chunked and close", head(b"Transfer-Encoding: chunked", b"Connection: close", body=chunked(b"hello")), Whole(kept=False)),
]

BODILESS = [
    Case("a body behind a 204", b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello", Whole(b"", 204, kept=False)),
    Case("chunks behind a 204", b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Whole(b"", 204, kept=False)),
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
    Case("each kind of 1xx first", b"".join(b"HTTP/1.1 %d X\r\n\r\n" % s for s in (100, 102, 103, 103)) + HELLO, Whole(kept=True)),
    Case("a 100 with a length", b"HTTP/1.1 100 X\r\nContent-Length: 0\r\n\r\n" + HELLO, Whole()),
    Case("a 1xx and then the end", b"HTTP/1.1 103 X\r\n\r\n", 502, "close"),
    Case("a 1xx and then silence", b"HTTP/1.1 103 X\r\n\r\n", 504, "hold"),
    Case("a flood of 100", b"HTTP/1.1 100 X\r\n\r\n" * 20_000 + HELLO, 502),
    Case("a 101 nobody asked for", b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello", 502, "hold"),
    Case("a 101 nobody asked for, and an answer", b"HTTP/1.1 101 X\r\n\r\n" + HELLO, 502),
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
    """The proxy, its upstream, and what a case leaves behind."""

    def __init__(self, proxy: Running, upstream: Recorder) -> None:
        self.proxy = proxy
        self.upstream = upstream
        self.port = proxy.port
        self.released = threading.Event()
        self._script: Callable[[Recorded, Wire], bytes | None] = lambda request, wire: None
        upstream.answer = self.answer

    def answer(self, request: Recorded, wire: Wire) -> bytes | None:
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
                # What was sent is to arrive before the reset does, which would overtake it.
                time.sleep(0.05)
                wire.reset()
            elif end == "hold":
                released.wait(10)

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
        text = CONFIGURATION.format(address=upstream.address, port=free_port(), full=full)
        with run_proxy(text, folder) as proxy:
            yield Place(proxy, upstream)
            assert "Traceback" not in proxy.log(), proxy.log()


def check_refused(place: Place, case: Case, client: Client, answer: Response, mark: int) -> None:
    assert answer.status == case.expected and answer.complete, answer
    assert b"hello" not in answer.body
    wait_until(lambda: place.faults(mark), "a line in the log", 3)
    assert len(place.faults(mark)) == 1, place.faults(mark)
    assert place.upstream.address in place.faults(mark)[0]


def check_cut(place: Place, client: Client, answer: Response, mark: int) -> None:
    if answer.status == 502:
        # The fault was seen before anything went out.
        assert answer.complete and b"hello" not in answer.body
    else:
        assert answer.status == 200 and not answer.complete, answer
        assert client.ended
    wait_until(lambda: place.faults(mark), "a line in the log", 3)
    assert len(place.faults(mark)) == 1, place.faults(mark)
    assert place.upstream.address in place.faults(mark)[0]


@pytest.mark.parametrize("where", ["/", "/unbuffered/"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sentence)
def test_what_comes_out(place: Place, case: Case, where: str) -> None:
    place.sends(case.data, case.end)
    mark = place.mark()
    with Client(place.port) as client:
        client.send(request_bytes(where + "case", case.method))
        try:
            answer = client.read_response(case.method)
        except ConnectionError:
            # A reset is the plainest sign that an answer is not whole.
            assert case.expected == CUT, "reset"
            answer = Response(200, "", "", [])
            client.ended = True
        if isinstance(case.expected, Whole):
            assert (answer.status, answer.body) == (case.expected.status, case.expected.body)
            assert answer.complete and not client.buffer
            if case.expected.status == 204:
                assert not answer.get("Content-Length") and not answer.get("Transfer-Encoding")
        elif case.expected == CUT:
            check_cut(place, client, answer, mark)
        else:
            check_refused(place, case, client, answer, mark)
        place.released.set()
        closes = client.ended or "close" in (answer.get("Connection") or "").lower()
        place.check_others(None if closes else client)
    if isinstance(case.expected, Whole):
        if case.expected.kept is not None:
            assert (place.used() >= place.used_after()) == case.expected.kept
    else:
        assert not place.used() & place.used_after(), "a connection that carried a fault was used again"
