"""One request to a server of the comparison, the recording upstreams behind both, and the comparison of the two exchanges.

Rules:
- The response of an upstream depends on the number of the request alone, so that both servers get the same one.
- Times, identifiers and ports of clients are replaced before the comparison; the two servers' addresses and trees, too.
- Transfer-Encoding and the length of a body that arrived whole are framing and not compared.
"""

from __future__ import annotations

import gzip
import re
import socket
import ssl
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.support import Recorded, Recorder, Response, Wire, chunked, parse_response, reply

from .beside_cases import NGINX, OURS, UPSTREAM, Case
from .beside_gateways import Gateways
from .beside_requests import Request

DEADLINE = 5.0
_FRAMING = frozenset({"date", "server", "transfer-encoding", "keep-alive"})
_VOLATILE = [
    (re.compile(r"\b[0-9a-f]{32}\b"), "ID"),
    (re.compile(r"\b\d{10}(?:\.\d{3})?\b"), "TIME"),
    (re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} 20[2]\d \d\d:\d\d:\d\d GMT"), "DATE"),
]
_PRODUCT = re.compile(rb"<hr><center>[^<]*</center>")
_TEXT = b"<html><head><title>t</title></head><body>" + b"hello world " * 40 + b"</body></html>"

Exchange = tuple[Response | None, list[Recorded]]


def scripted(number: int, request: Recorded) -> bytes:
    """Return the upstream's response to the request with this number."""
    here = request.get_all("Host") or [""]
    if "websocket" in (request.get_all("Upgrade") or [""])[0]:
        return b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Up: 1\r\n\r\nframe"
    usual = [("Content-Type", "text/html; charset=utf-8"), ("ETag", '"e1"'), ("Last-Modified", "Tue, 01 Jan 2019 00:00:00 GMT")]
    responses = [
        reply(_TEXT, "200 OK", usual),
        chunked_reply([("Content-Type", "application/json"), ("Cache-Control", "max-age=60"), ("Vary", "Accept")]),
        reply(b"plain", "200 OK", [("Set-Cookie", "a=1; Path=/; HttpOnly"), ("Set-Cookie", "b=2"), ("X-Powered-By", "php")]),
        reply(b"", "302 Found", [("Location", f"http://{here[0]}/login?next=%2F")]),
        reply(b"body", "200 OK", [("Server", "app"), ("Date", "Tue, 01 Jan 2019 00:00:00 GMT"), ("X-Frame-Options", "DENY")]),
        reply(b"missing", "404 Not Found", [("Content-Type", "text/plain")]),
        reply(_TEXT, "200 OK", [("Content-Type", "text/css"), ("Access-Control-Allow-Origin", "*"), ("Expires", "0")]),
        reply(b"", "301 Moved Permanently", [("Location", "/new/place"), ("Cache-Control", "no-store")]),
        reply(b"late", "500 Internal Server Error", [("Content-Type", "text/plain"), ("X-Error", "1")]),
        reply(b"ok", "200 OK", [("Content-Type", "application/javascript"), ("Strict-Transport-Security", "max-age=1")]),
        reply(b"", "204 No Content", length=None),
        reply(b"who", "401 Unauthorized", [("WWW-Authenticate", 'Basic realm="a"')]),
        reply(b"made", "201 Created", [("Location", f"https://{here[0]}/item/1"), ("Refresh", "5; url=/x")]),
    ]
    # Every second response is the first, because an auth request with another one ends most requests.
    found = responses[0] if number % 2 else responses[number // 2 % len(responses)]
    return found.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if request.method == "HEAD" else found


def chunked_reply(fields: list[tuple[str, str]]) -> bytes:
    """Return a response with a chunked body."""
    return reply(chunked(b'{"a": ', b"1}"), "200 OK", [*fields, ("Transfer-Encoding", "chunked")], length=None)


class _Upstream(Recorder):
    """A recorder that speaks TLS to a client that begins with it."""

    context: ssl.SSLContext

    def _serve(self, wire: Wire) -> None:
        try:
            if self.path is None and wire.sock.recv(1, socket.MSG_PEEK) == b"\x16":
                wire.sock = self.context.wrap_socket(wire.sock, server_side=True)
        except OSError:
            pass  # the peer left: the recorder notes that nothing came
        super()._serve(wire)


class Upstreams:
    """The recording upstreams of a case; a context manager."""

    def __init__(self, case: Case, pki: Path) -> None:
        self.number = 0
        self.journal: list[Recorded] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki / "cert.pem", pki / "key.pem")
        self.recorders = [
            _Upstream(self._answer, host=UPSTREAM, port=port, name=str(port), journal=self.journal) for port in case.ports
        ]
        self.recorders += [
            _Upstream(self._answer, path=path, name=plain, journal=self.journal) for plain, path in case.sockets.items()
        ]
        for recorder in self.recorders:
            recorder.context = context
        self._gateways = Gateways(case.root, self.journal, lambda request: scripted(self.number, request))
        self._stack = ExitStack()

    def __enter__(self) -> Upstreams:
        for recorder in self.recorders:
            recorder.start()
            self._stack.callback(recorder.stop)
        self._stack.enter_context(self._gateways)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def begin(self, number: int) -> None:
        """Forget the requests so far, and respond as for the request with this number."""
        self.number = number
        self.journal.clear()

    def seen(self) -> list[Recorded]:
        """Return the requests that arrived since `begin`."""
        return list(self.journal)

    def _answer(self, request: Recorded, wire: Wire) -> bytes | None:
        data = scripted(self.number, request)
        wire.send(data)
        if data.startswith(b"HTTP/1.1 101"):
            wire.close()
        return None


def send(address: tuple[str, int], request: Request, secure: bool, proxied: bool) -> Response | None:
    """Return the response to a request on a new connection, None if it did not come."""
    data = b""
    try:
        with socket.create_connection(address, DEADLINE, (NGINX, 0)) as plain:
            if proxied:
                plain.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.8 40000 80\r\n")
            sock: socket.socket = plain
            if secure:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                sock = context.wrap_socket(plain, server_hostname=request.name)
            with sock:
                client_port = sock.getsockname()[1]
                sock.sendall(request.data)
                while not _complete(data, request.method) and (block := sock.recv(65536)):
                    data += block
    except (OSError, ssl.SSLError):
        pass  # a reset or a silence behind a response; without one, None below
    try:
        response = parse_response(data, request.method)
    except (ValueError, AssertionError):
        return None
    if response is not None:
        response.client_port = client_port  # type: ignore[attr-defined]
    return response


def _complete(data: bytes, method: str) -> bool:
    """Return True if the data is a response with a known length: a server may keep the connection behind it."""
    try:
        response = parse_response(data, method, ended=False)
    except (ValueError, AssertionError):
        return False
    return response is not None and response.complete and response.status != 101


def _text(response: Response) -> bytes:
    """Return the body without gzip, whose compressed form no two implementations share."""
    if response.get_all("Content-Encoding") != ["gzip"] or not response.body:
        return response.body
    try:
        return gzip.decompress(response.body)
    except (OSError, EOFError, zlib.error):
        return response.body


def plain(text: str, case: Case, port: int) -> str:
    """Return a text without the times, identifiers and addresses that differ between any two exchanges."""
    text = text.replace(str(case.tree(OURS)), str(case.tree(NGINX))).replace(OURS, NGINX)
    for pattern, word in _VOLATILE:
        text = pattern.sub(word, text)
    return re.sub(rf"\b{port}\b", "CLIENT", text) if port else text


def differences(theirs: Exchange, ours: Exchange, case: Case) -> Iterator[tuple[str, str, str]]:
    """Yield (kind, nginx's, ours) of each difference between two exchanges."""
    first, second = theirs[0], ours[0]
    ports = [getattr(response, "client_port", 0) for response in (first, second)]
    if first is None or second is None:
        if first is not second:
            yield "no response", _line(first), _line(second)
        return
    statuses = [f"{response.status} {response.reason}" for response in (first, second)]
    if statuses[0] != statuses[1]:
        yield f"status {statuses[0]} → {statuses[1]}", _line(first), _line(second)
    else:
        yield from _fields("response field", *(_pairs(r, case, port) for r, port in zip((first, second), ports, strict=True)))
        bodies = [
            plain(_PRODUCT.sub(b"PRODUCT", _text(r)).decode("latin-1"), case, port)
            for r, port in zip((first, second), ports, strict=True)
        ]
        if bodies[0] != bodies[1]:
            yield "body", repr(bodies[0][:300]), repr(bodies[1][:300])
        if first.complete != second.complete:
            yield "complete", str(first.complete), str(second.complete)
    yield from _views(theirs[1], ours[1], case, ports)


def _views(theirs: list[Recorded], ours: list[Recorded], case: Case, ports: list[int]) -> Iterator[tuple[str, str, str]]:
    """Yield the differences between the requests that reached the upstreams."""
    lines = [[f"{one.server} {plain(f'{one.method} {one.target}', case, 0)}" for one in seen] for seen in (theirs, ours)]
    if lines[0] != lines[1]:
        kind = "upstream requests" if len(theirs) != len(ours) else "upstream request line"
        yield kind, repr(lines[0]), repr(lines[1])
        return
    for first, second in zip(theirs, ours, strict=True):
        if first.version != second.version:
            yield "upstream version", first.version, second.version
        pairs = [
            sorted((name.lower(), plain(value, case, port)) for name, value in one.headers)
            for one, port in zip((first, second), ports, strict=True)
        ]
        yield from _fields("upstream field", pairs[0], pairs[1])
        if first.body != second.body:
            yield "upstream body", repr(first.body[:200]), repr(second.body[:200])


def _pairs(response: Response, case: Case, port: int) -> list[tuple[str, str]]:
    """Return the fields of a response that are compared, in order of their names."""
    whole = len(response.body)
    shown = []
    for name, value in response.headers:
        lower = name.lower()
        if lower in _FRAMING or lower == "content-length" and (value == str(whole) or not whole or b"<hr>" in response.body):
            continue
        shown.append((lower, plain(value, case, port)))
    return sorted(shown, key=lambda pair: pair[0])


def _fields(kind: str, theirs: list[tuple[str, str]], ours: list[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Yield the names whose values differ."""
    for name in sorted({name for name, _ in theirs} | {name for name, _ in ours}):
        values = [[value for key, value in pairs if key == name] for pairs in (theirs, ours)]
        if values[0] != values[1] and not _counts_down(*values):
            word = "missing" if not values[1] else "added" if not values[0] else "differs"
            yield f"{kind} {name} {word}", repr(values[0]), repr(values[1])


def _counts_down(theirs: list[str], ours: list[str]) -> bool:
    """Return True for two lifetimes up to the same moment (`expires @0h30m`), asked for within a few seconds."""
    found = [re.fullmatch(r"max-age=(\d+)", values[0]) for values in (theirs, ours) if len(values) == 1]
    if len(found) < 2 or found[0] is None or found[1] is None:
        return False
    return abs(int(found[0][1]) - int(found[1][1])) <= 10


def _line(response: Response | None) -> str:
    """Return a response in a line."""
    if response is None:
        return "none"
    fields = ", ".join(f"{name}: {value}" for name, value in response.headers if name.lower() not in ("date", "server"))
    return f"{response.status} {response.reason} [{fields[:300]}] {response.body[:120]!r}"
