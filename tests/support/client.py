"""A client that sends exactly the bytes it is given and shows exactly the bytes it gets.

`send_raw` is one exchange on its own connection; `Client` is a connection to keep; `parse_response` reads an answer
without repairing it: whether the framing was complete is a field, not an exception.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .ports import DEADLINE, Address, connect

Pairs = list[tuple[str, str]]


@dataclass
class Response:
    """One answer. Field names keep their case and order; values and names are latin-1."""

    status: int
    reason: str
    version: str
    headers: Pairs
    body: bytes = b""
    trailers: Pairs = field(default_factory=list)
    #: Whether the body ended where its framing says: False for a cut-off body.
    complete: bool = False
    #: The 1xx answers before this one, each without a body.
    interim: list[Response] = field(default_factory=list)
    #: Every byte of this answer, the 1xx ones included, and those that came behind it.
    raw: bytes = b""
    rest: bytes = b""

    def get_all(self, name: str) -> list[str]:
        """All values of a field, in order, whatever its case."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """The only value of a field or None; AssertionError when the field is repeated."""
        values = self.get_all(name)
        assert len(values) <= 1, f"{name} is repeated: {values}"
        return values[0] if values else None

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


def _parse_pairs(lines: Iterable[bytes]) -> Pairs:
    pairs = []
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        assert colon, f"a field line without a colon: {line!r}"
        pairs.append((name, value.strip(" \t")))
    return pairs


def read_chunks(data: bytes) -> tuple[bytes, Pairs, bool, bytes]:
    """(body, trailers, complete, rest) of chunked framing at the start of `data`."""
    body = b""
    while True:
        line, newline, after = data.partition(b"\r\n")
        if not newline:
            return body, [], False, data
        size = int(line.partition(b";")[0], 16)
        if size == 0:
            break
        if len(after) < size + 2:
            return body + after[:size], [], False, b""
        assert after[size : size + 2] == b"\r\n", f"no line end behind a chunk: {after[size : size + 2]!r}"
        body += after[:size]
        data = after[size + 2 :]
    lines: list[bytes] = []
    while True:
        line, newline, after = after.partition(b"\r\n")
        if not newline:
            return body, [], False, b""
        if not line:
            return body, _parse_pairs(lines), True, after
        lines.append(line)


def parse_response(raw: bytes, method: str = "GET", ended: bool = True) -> Response | None:
    """The first final answer in `raw`, or None while its head is incomplete.

    `ended` says whether the connection is closed behind `raw`, which is what ends a body without a length.
    """
    interim: list[Response] = []
    data = raw
    while True:
        head, blank, data = data.partition(b"\r\n\r\n")
        if not blank:
            return None
        lines = head.split(b"\r\n")
        version, _, status_reason = lines[0].decode("latin-1").partition(" ")
        status, _, reason = status_reason.partition(" ")
        response = Response(int(status), reason, version, _parse_pairs(lines[1:]))
        if not (100 <= response.status < 200) or response.status == 101:
            break
        response.complete = True
        interim.append(response)
    response.interim = interim
    length = response.get_all("Content-Length")
    if method == "HEAD" or response.status in (101, 204, 304) or (method == "CONNECT" and response.status == 200):
        response.complete, response.rest = True, data
    elif "chunked" in (response.get("Transfer-Encoding") or "").lower():
        response.body, response.trailers, response.complete, response.rest = read_chunks(data)
    elif length:
        assert len(set(length)) == 1, f"several lengths: {length}"
        size = int(length[0])
        response.body, response.rest, response.complete = data[:size], data[size:], len(data) >= size
    else:
        response.body, response.complete = data, ended
    response.raw = raw[: len(raw) - len(response.rest)]
    return response


class Client:
    """A connection to `address`; a context manager. Every wait ends after `timeout` seconds with TimeoutError."""

    def __init__(
        self,
        address: Address,
        timeout: float = DEADLINE,
        tls: ssl.SSLContext | None = None,
        server_hostname: str = "localhost",
    ) -> None:
        self.timeout = timeout
        self.sock = connect(address, timeout)
        if tls is not None:
            try:
                self.sock = tls.wrap_socket(self.sock, server_hostname=server_hostname)
            except BaseException:
                self.sock.close()
                raise
        #: Bytes received and not yet taken by a read.
        self.buffer = b""
        #: Whether the server has ended its half.
        self.ended = False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        self.sock.sendall(data)

    def half_close(self) -> None:
        """End this half; reading continues."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with RST, as a client that crashed or gave up."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()

    def _read_while(self, wanting: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + self.timeout
        while wanting() and not self.ended:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"waited {self.timeout} s for {what}; got {self.buffer[:2000]!r}")
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                continue
            finally:
                self.sock.settimeout(self.timeout)
            self.buffer += data
            self.ended = not data

    def read_until(self, mark: bytes) -> bytes:
        """All bytes up to and with `mark`, or up to the end of the connection."""
        self._read_while(lambda: mark not in self.buffer, repr(mark))
        before, found, after = self.buffer.partition(mark)
        self.buffer = after
        return before + found

    def read_exactly(self, count: int) -> bytes:
        """`count` bytes, or fewer if the connection ends."""
        self._read_while(lambda: len(self.buffer) < count, f"{count} bytes")
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def read_all(self) -> bytes:
        """All bytes to the end of the connection; a pause of `timeout` seconds is a TimeoutError."""
        pieces, self.buffer = [self.buffer], b""
        try:
            while not self.ended:
                # Piece by piece, because adding each to millions of bytes takes seconds.
                self._read_while(lambda: not self.buffer, "the end of the connection")
                pieces.append(self.buffer)
                self.buffer = b""
        except OSError:
            self.buffer = b"".join(pieces) + self.buffer
            raise
        return b"".join(pieces)

    def read_head(self) -> bytes:
        """The bytes of the next answer's head, 1xx included, with the blank line."""
        return self.read_until(b"\r\n\r\n")

    def read_response(self, method: str = "GET") -> Response:
        """The next final answer; `complete` is False if the connection ended within its body.

        ConnectionError when the connection ended before a head was complete.
        """
        # Parsed once per received piece: fine for the sizes of tests, and no second parser is needed.
        seen = -1
        response: Response | None = None

        def unfinished() -> bool:
            nonlocal seen, response
            if len(self.buffer) != seen:
                seen = len(self.buffer)
                response = parse_response(self.buffer, method, ended=False)
            return response is None or not response.complete

        self._read_while(unfinished, "a complete answer")
        response = parse_response(self.buffer, method, ended=self.ended)
        if response is None:
            raise ConnectionError(f"the connection ended before an answer: {self.buffer!r}")
        self.buffer = response.rest
        return response

    def exchange(self, data: bytes, method: str = "GET") -> Response:
        """Send `data` and read one answer."""
        self.send(data)
        return self.read_response(method)


def send_raw(
    address: Address,
    data: bytes,
    until: bytes | None = None,
    timeout: float = DEADLINE,
    half_close: bool = False,
) -> bytes:
    """Send `data` on a new connection and return all received bytes, up to the end or to `until`.

    A reset by the server after its response counts as the end: the received bytes are returned.
    """
    with Client(address, timeout) as client:
        try:
            client.send(data)
            if half_close:
                client.half_close()
            return client.read_all() if until is None else client.read_until(until)
        except ConnectionError:
            return client.buffer


def request_bytes(
    target: str = "/",
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    *,
    host: str = "localhost",
    close: bool = False,
) -> bytes:
    """A plain HTTP/1.1 request: Host first, then `headers`, Content-Length only if there is a body."""
    pairs = list(headers)
    names = {name.lower() for name, _ in pairs}
    lines = [f"{method} {target} HTTP/1.1"]
    if "host" not in names:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in pairs]
    if body and not names & {"content-length", "transfer-encoding"}:
        lines.append(f"Content-Length: {len(body)}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def fetch(
    address: Address,
    target: str = "/",
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    *,
    host: str = "localhost",
    timeout: float = DEADLINE,
    tls: ssl.SSLContext | None = None,
) -> Response:
    """One request on its own connection, with `Connection: close`."""
    with Client(address, timeout, tls) as client:
        return client.exchange(request_bytes(target, method, headers, body, host=host, close=True), method)
