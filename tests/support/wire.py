"""Helpers of the transport tests: a transport, request shortcuts, client bodies, and a second run on gevent's event loop."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.recorder import Recorded, Recorder
from tests.support.recorder import Wire as Peer
from wsgi_proxy.config import ProxySettings, Upstream
from wsgi_proxy.net.plain_stream import PlainStream
from wsgi_proxy.net.stream import Stream
from wsgi_proxy.proxy.request_body import Upload
from wsgi_proxy.transport.reply import Call, Reply
from wsgi_proxy.transport.route import Route
from wsgi_proxy.transport.session import Transport

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


def opened() -> Iterator[Transport]:
    """For a fixture: a transport that is closed in the end."""
    transport = Transport()
    yield transport
    transport.close()


def route(upstream: Recorder, **options: Any) -> Route:
    limits = {name: options.pop(name) for name in list(options) if name.startswith("keepalive")}
    settings = {name: options.pop(name) for name in list(options) if name.endswith(("timeout", "version", "size"))}
    return Route(
        upstream.path or (upstream.host, upstream.port),
        settings=ProxySettings(**settings),
        limits=Upstream("u", (), **limits) if limits else None,
        **options,
    )


def send(transport: Transport, where: Route, method: str = "GET", upload: Upload | None = None, fields: str = "") -> Reply:
    framing = ""
    if upload is not None:
        framing = f"Content-Length: {upload.length}\r\n" if upload.length is not None else "Transfer-Encoding: chunked\r\n"
    return transport.send(Call(method, f"{method} /x HTTP/1.1\r\nHost: a\r\n{framing}{fields}\r\n".encode(), upload), where)


def fetch(transport: Transport, where: Route, method: str = "GET", upload: Upload | None = None) -> bytes:
    return b"".join(send(transport, where, method, upload).body)


def once(*responses: bytes) -> Callable[[Recorded, Peer], bytes]:
    """A script that gives one answer after the other, over all connections."""
    left = list(responses)
    return lambda request, wire: left.pop(0)


def raw(data: bytes, close: bool = True) -> Callable[[Recorded, Peer], None]:
    def script(request: Recorded, wire: Peer) -> None:
        wire.send(data)
        if close:
            wire.close()

    return script


class Blocks:
    """A client's body: blocks, then the end, or a fault."""

    def __init__(self, *blocks: bytes | BaseException, trailers: list[tuple[str, str]] | None = None) -> None:
        self.blocks = list(blocks)
        self.trailers = trailers or []

    def read(self, size: int) -> bytes:
        if not self.blocks:
            return b""
        block = self.blocks.pop(0)
        if isinstance(block, BaseException):
            raise block
        if len(block) > size:
            self.blocks.insert(0, block[size:])
        return block[:size]


def upload_of(kind: str, data: bytes, folder: Path) -> Upload:
    """A body in one of the ways a request's body comes."""
    if kind == "memory":
        return Upload(len(data), data=data)
    if kind == "file":
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - the Upload closes it
        file.write(data)
        file.seek(0)
        return Upload(len(data), file=file)
    half = len(data) // 2
    source = Blocks(*(part for part in (data[:half], data[half:]) if part))
    return Upload(len(data) if kind == "stream" else None, source=source)


KINDS = ["memory", "file", "stream", "chunks"]


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def on_the_loop() -> bool:
    stream = Stream.of(socket.socket())
    stream.close()
    return not isinstance(stream, PlainStream)


def run_on_the_loop(file: str) -> None:
    """Run a test file again in a process that gevent has patched."""
    if on_the_loop():
        pytest.skip("this is the loop")
    code = "from gevent import monkey; monkey.patch_all()\nimport sys, pytest\nsys.exit(pytest.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "-q", "-p", "no:cacheprovider", "-W", "ignore", file],
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    near.settimeout(30)
    return near, far


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while block := sock.recv(65536):
        data += block
    return data
