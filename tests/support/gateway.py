"""A server of FastCGI, uwsgi or SCGI that follows a script, in a thread of the test.

It reads a request with its own parser and gives the variables and the body to the script, which may send any bytes.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from wsgi_proxy.gateway.protocols import Gateway

from .ports import DEADLINE


def head(gateway: Gateway, variables: list[tuple[str, str]], length: int | None) -> bytes:
    """Return the bytes that a gateway sends before the body, for these variables and the length of the body."""
    return gateway.head([gateway.parameter(name, value) for name, value in variables], length)


@dataclass
class Asked:
    """A request as it arrived: variables in order, body, records (type, content size, padding) of FastCGI, flags."""

    params: list[tuple[bytes, bytes]]
    body: bytes
    records: list[tuple[int, int, int]] = field(default_factory=list)
    keep: bool = False
    modifiers: tuple[int, int] = (0, 0)
    connection: int = 0

    def __getitem__(self, name: str) -> str:
        """The only value of a variable; KeyError without it."""
        values = [value for key, value in self.params if key.decode("latin-1") == name]
        if len(values) != 1:
            raise KeyError(name, values)
        return values[0].decode("latin-1")

    def names(self) -> list[str]:
        return [name.decode("latin-1") for name, _ in self.params]


def stdout(data: bytes, padding: int = 0, kind: int = 6) -> bytes:
    """Records of STDOUT, or of another type."""
    found = b""
    for at in range(0, len(data) or 1, 65535):
        piece = data[at : at + 65535]
        found += struct.pack("!BBHHBx", 1, kind, 1, len(piece), padding) + piece + b"\0" * padding
    return found


def stderr(data: bytes) -> bytes:
    return stdout(data, kind=7)


END = struct.pack("!BBHHBx", 1, 3, 1, 8, 0) + bytes(8)

Script = Callable[[Asked, socket.socket], "bytes | None"]
"""Returns the bytes to send, after which a connection that is not kept is closed; None closes at once."""


class GatewayServer:
    """Serves `script` on a TCP port of loopback, or at `path`, with `tls` over TLS. `asked` collects the requests."""

    def __init__(self, protocol: str, script: Script, path: Path | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.protocol = protocol
        self.script = script
        self.asked: list[Asked] = []
        self.connections = 0
        self._open: list[socket.socket] = []
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen()
            self.address = f"unix:{path}"
        self.faults: list[BaseException] = []

    def __enter__(self) -> GatewayServer:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            sock.close()
        if exc[0] is None and self.faults:
            raise self.faults[0]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(DEADLINE)
            self._open.append(sock)
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock, self.connections), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        if self._tls is not None:
            try:
                sock = self._tls.wrap_socket(sock, server_side=True)
            except OSError:
                return
            self._open.append(sock)
        file = sock.makefile("rb")
        read = {"fastcgi": _fastcgi, "uwsgi": _uwsgi, "scgi": _scgi}[self.protocol]
        try:
            while True:
                asked = read(file)
                if asked is None:
                    return
                asked.connection = number
                self.asked.append(asked)
                data = self.script(asked, sock)
                if data is not None:
                    sock.sendall(data)
                if data is None or not asked.keep:
                    return
        except (ConnectionError, TimeoutError, ValueError):
            return
        except Exception as error:
            self.faults.append(error)
            raise
        finally:
            file.close()
            sock.close()


def _exactly(file, size: int) -> bytes:  # type: ignore[no-untyped-def]
    data = file.read(size)
    if len(data) != size:
        raise ConnectionError("the request ended early")
    return bytes(data)


def _fastcgi(file) -> Asked | None:  # type: ignore[no-untyped-def]
    asked = Asked([], b"")
    params = b""
    while True:
        head = file.read(8)
        if not head:
            return None
        version, kind, number, size, padding = struct.unpack("!BBHHBx", head)
        assert (version, number) == (1, 1)
        content = _exactly(file, size)
        _exactly(file, padding)
        asked.records.append((kind, size, padding))
        if kind == 1:
            role, flags = struct.unpack("!HB5x", content)
            assert role == 1
            asked.keep = bool(flags & 1)
        elif kind == 4:
            params += content
        elif kind == 5:
            if not content:
                break
            asked.body += content
    at = 0
    while at < len(params):
        sizes = []
        for _ in range(2):
            size = params[at]
            at += 1
            if size & 128:
                size = (size & 127) << 24 | int.from_bytes(params[at : at + 3], "big")
                at += 3
            sizes.append(size)
        asked.params.append((params[at : at + sizes[0]], params[at + sizes[0] : at + sum(sizes)]))
        at += sum(sizes)
    return asked


def _uwsgi(file) -> Asked | None:  # type: ignore[no-untyped-def]
    head = file.read(4)
    if not head:
        return None
    modifier1, size, modifier2 = struct.unpack("<BHB", head)
    data, params, at = _exactly(file, size), [], 0
    while at < size:
        pair = []
        for _ in range(2):
            (length,) = struct.unpack_from("<H", data, at)
            pair.append(data[at + 2 : at + 2 + length])
            at += 2 + length
        params.append((pair[0], pair[1]))
    length = int(dict(params).get(b"CONTENT_LENGTH", b"") or 0)
    return Asked(params, _exactly(file, length), modifiers=(modifier1, modifier2))


def _scgi(file) -> Asked | None:  # type: ignore[no-untyped-def]
    size = b""
    while (digit := file.read(1)) != b":":
        if not digit:
            return None
        size += digit
    parts = _exactly(file, int(size)).split(b"\0")[:-1]
    assert file.read(1) == b","
    params = list(zip(parts[::2], parts[1::2], strict=True))
    assert params[0][0] == b"CONTENT_LENGTH"
    return Asked(params, _exactly(file, int(params[0][1])))
