"""An upstream that records every byte it receives and sends scripted responses.

    with Recorder(lambda request, wire: reply(b"hello")) as upstream:
        fetch(upstream.port, "/a")
        assert upstream.requests[0].target == "/a"

The script is a function of the request and of the `Wire` (the connection). It returns the bytes to send (`reply` makes
simple ones), or None if it has sent the response itself. It may wait for an event (to hold a request), send slowly, send
raw bytes, reset, or take over the connection. An exception in a script fails the `with` block, except for one that
reports a closed connection.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .client import Pairs, _parse_pairs
from .ports import DEADLINE


@dataclass
class Recorded:
    """One request as it came over the wire."""

    #: The exact bytes of the head with its blank line, and of the body with its chunk framing and trailers.
    raw_head: bytes
    raw_body: bytes = b""
    method: str = ""
    target: str = ""
    version: str = ""
    #: Field lines in their order and case, latin-1.
    headers: Pairs = field(default_factory=list)
    #: The body without its framing, as far as it came.
    body: bytes = b""
    trailers: Pairs = field(default_factory=list)
    #: Whether the body came to the end its framing promises.
    complete: bool = False
    #: Which connection of this recorder (from 1), and which request on it (from 1).
    connection: int = 0
    number: int = 0
    #: The recorder's name, for a journal shared by several.
    server: str = ""
    #: time.monotonic() when the head was read.
    at: float = 0.0

    @property
    def raw(self) -> bytes:
        return self.raw_head + self.raw_body

    def get_all(self, name: str) -> list[str]:
        """All values of a field, in order, whatever its case."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """The only value of a field or None; AssertionError when the field is repeated."""
        values = self.get_all(name)
        assert len(values) <= 1, f"{name} is repeated: {values}"
        return values[0] if values else None


def reply(
    body: bytes = b"",
    status: int | str = 200,
    headers: Iterable[tuple[str, str]] = (),
    *,
    length: int | None = -1,
) -> bytes:
    """Return the bytes of a response; `length` is the Content-Length to claim, None for no such field (-1: the true one)."""
    lines = [f"HTTP/1.1 {status}" if isinstance(status, str) else f"HTTP/1.1 {status} Scripted"]
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length < 0 else length}")
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunked(*pieces: bytes, trailers: Iterable[tuple[str, str]] = ()) -> bytes:
    """A complete body in chunked framing, one chunk per piece."""
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece)
    return body + b"0\r\n" + b"".join(f"{n}: {v}\r\n".encode("latin-1") for n, v in trailers) + b"\r\n"


class Ended(ConnectionError):
    """The peer ended its direction within a message."""


class Wire:
    """One accepted connection, as a script sees it."""

    def __init__(self, sock: socket.socket, connection: int) -> None:
        self.sock = sock
        self.connection = connection
        self.buffer = b""
        self.closed = False

    def send(self, data: bytes) -> None:
        """Send all of `data` now."""
        self.sock.sendall(data)

    def drip(self, data: bytes, pause: float = 0.01, size: int = 1) -> None:
        """Send `data` in pieces of `size` bytes with `pause` seconds between them."""
        for start in range(0, len(data), size):
            if start:
                time.sleep(pause)
            self.send(data[start : start + size])

    def recv(self, size: int = 65536) -> bytes:
        """Return the next bytes, b"" at the end. For scripts that take over the connection."""
        if self.buffer:
            data, self.buffer = self.buffer[:size], self.buffer[size:]
            return data
        return self.sock.recv(size)

    def read_until(self, mark: bytes) -> bytes:
        """Bytes up to and with `mark`; Ended if the connection ends before."""
        while mark not in self.buffer:
            self._more()
        before, found, self.buffer = self.buffer.partition(mark)
        return before + found

    def take(self, size: int) -> bytes:
        """Between one and `size` bytes; Ended if the connection ends before."""
        if not self.buffer:
            self._more()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise Ended
        self.buffer += data

    def read_body(self, request: Recorded) -> bytes:
        """Read the rest of the request's body into `request` and return it; Ended if it does not come to its end."""
        if request.complete:
            return request.body
        if "chunked" in ",".join(request.get_all("Transfer-Encoding")).lower():
            self._read_chunks(request)
        else:
            left = int((request.get_all("Content-Length") or ["0"])[0]) - len(request.raw_body)
            while left > 0:
                data = self.take(left)
                request.raw_body += data
                request.body += data
                left -= len(data)
        request.complete = True
        return request.body

    def _read_chunks(self, request: Recorded) -> None:
        while True:
            line = self.read_until(b"\r\n")
            request.raw_body += line
            left = size = int(line.partition(b";")[0], 16)
            while left > 0:
                data = self.take(left)
                request.raw_body += data
                request.body += data
                left -= len(data)
            if size == 0:
                break
            request.raw_body += self.read_until(b"\r\n")
        lines = []
        while (line := self.read_until(b"\r\n")) != b"\r\n":
            request.raw_body += line
            lines.append(line[:-2])
        request.raw_body += line
        request.trailers = _parse_pairs(lines)

    def close(self) -> None:
        """Close in the ordinary way (FIN), whatever was promised."""
        self.closed = True
        # The unread bytes would turn the FIN into a RST, so wait a moment for the peer's.
        try:
            self.sock.shutdown(socket.SHUT_WR)
            self.sock.settimeout(0.2)
            while self.sock.recv(65536):
                pass
        except OSError:
            pass
        self.sock.close()

    def reset(self) -> None:
        """Close with RST."""
        self.closed = True
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Script = Callable[[Recorded, Wire], bytes | None]


def say_ok(request: Recorded, wire: Wire) -> bytes:
    """The default script."""
    return reply(b"ok")


class Recorder:
    """A recording server with a thread per connection; a context manager, may be stopped and started again.

    answer        the script; may be replaced at any time by setting the attribute
    port          TCP port on `host`, 0 for a free one; `path` instead for a unix socket
    name, journal the name is noted on each request, and each request also appended to `journal`, a list that several
                  recorders may share to see the order in which they were chosen
    on_connect    called with the Wire of a new connection before anything is read from it
    read_body     False: the script is called when the head is read, and calls wire.read_body(request) if it wants to
    expect        answer `Expect: 100-continue` with 100 before the body is read
    tls           a server-side ssl context
    """

    def __init__(
        self,
        response: Script = say_ok,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        path: str | Path | None = None,
        name: str = "",
        journal: list[Recorded] | None = None,
        on_connect: Callable[[Wire], None] | None = None,
        read_body: bool = True,
        expect: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.response = response
        self.host = host
        self.port = port
        self.path = str(path) if path is not None else None
        self.name = name
        self.journal = journal if journal is not None else []
        self.on_connect = on_connect
        self.read_body = read_body
        self.expect = expect
        self.tls = tls
        self.requests: list[Recorded] = []
        #: How many connections were accepted, and what failed in scripts.
        self.connections = 0
        self.errors: list[BaseException] = []
        #: Bytes that were no request head when the connection ended or could not be read as one.
        self.garbage: list[bytes] = []
        self._lock = threading.Lock()
        self._wires: set[Wire] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None

    @property
    def address(self) -> str:
        """host:port or unix:path, as `server` and `proxy_pass` of a configuration take it."""
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.address}"

    @property
    def open_connections(self) -> int:
        """Return the number of open accepted connections."""
        with self._lock:
            return len(self._wires)

    def __enter__(self) -> Recorder:
        self.start()
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc: object) -> None:
        self.stop()
        if exc_type is None and self.errors:
            raise AssertionError(f"a script failed: {self.errors[0]!r}") from self.errors[0]

    def start(self) -> None:
        """Listen and accept; a free port is kept for later starts."""
        if self.path is not None:
            Path(self.path).unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(self.path)
        else:
            listener = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
            self.port = listener.getsockname()[1]
        listener.listen(1024)
        self._listener = listener
        thread = threading.Thread(target=self._accept, args=(listener,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """Stop listening, cut every connection, and wait for the threads. Connecting is refused from now on."""
        if self._listener is not None:
            # shutdown wakes the thread that waits in accept; close alone does not.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._lock:
            wires = list(self._wires)
        for wire in wires:
            try:
                wire.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the script has closed it
        end = time.monotonic() + DEADLINE
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                raise AssertionError(f"a script did not end within {DEADLINE} s of stop(); release what it waits for first")
        self._threads.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return  # stop() closed the listener
            with self._lock:
                if self._listener is not listener:
                    sock.close()
                    return
                self.connections += 1
                wire = Wire(sock, self.connections)
                self._wires.add(wire)
                # Finished threads are dropped here, so that a long run does not collect them.
                self._threads = [thread for thread in self._threads if thread.is_alive()]
                thread = threading.Thread(target=self._serve, args=(wire,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, wire: Wire) -> None:
        try:
            if self.path is None:
                wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is not None:
                wire.sock = self.tls.wrap_socket(wire.sock, server_side=True)
            if self.on_connect is not None:
                self.on_connect(wire)
            number = 0
            while not wire.closed:
                number += 1
                if not self._one(wire, number):
                    break
        except OSError:
            pass  # the peer closed the connection: record the bytes read so far
        except BaseException as error:
            self.errors.append(error)
        finally:
            wire.sock.close()
            with self._lock:
                self._wires.discard(wire)

    def _one(self, wire: Wire, number: int) -> bool:
        """Serve one request. Return False if the connection must be closed."""
        try:
            head = wire.read_until(b"\r\n\r\n")
        except OSError:
            if wire.buffer:
                self.garbage.append(wire.buffer)
            return False
        request = Recorded(head, connection=wire.connection, number=number, server=self.name, at=time.monotonic())
        lines = head[:-4].split(b"\r\n")
        try:
            request.method, request.target, request.version = lines[0].decode("latin-1").split(" ")
            request.headers = _parse_pairs(lines[1:])
        except (ValueError, AssertionError):
            self.garbage.append(head)
            return False
        with self._lock:
            self.requests.append(request)
            self.journal.append(request)
        if self.expect and "100-continue" in (request.get_all("Expect") or [""])[0].lower():
            wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.read_body:
            wire.read_body(request)
        data = self.response(request, wire)
        if data is not None:
            wire.send(data)
        options = ",".join(request.get_all("Connection")).lower()
        if wire.closed or "close" in options or (request.version == "HTTP/1.0" and "keep-alive" not in options):
            if not wire.closed:
                wire.close()
            return False
        return True
