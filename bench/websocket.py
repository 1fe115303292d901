"""WebSocket messages of 125 bytes: the client and the server (`python -m bench.websocket PORT`), which also takes uploads.

Rules:
- A message of a client is one masked frame (131 bytes), and its echo one unmasked frame (127 bytes); RFC 6455, section 5.2.
- Both ends do no more than count bytes: their CPU time counts for no contender.
"""

from __future__ import annotations

import base64
import hashlib
import re
import select
import socket
import sys
import time
from contextlib import ExitStack

PAYLOAD = bytes(range(125))
MASK = b"\x11\x22\x33\x44"
QUESTION = b"\x82\xfd" + MASK + bytes(byte ^ MASK[index % 4] for index, byte in enumerate(PAYLOAD))
ECHO = b"\x82\x7d" + PAYLOAD
KEY = base64.b64encode(b"0123456789abcdef")
ACCEPT = base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n"
)


def relay(port: int, seconds: float, connections: int = 32) -> int:
    """Exchange messages over `connections` WebSockets, one at a time on each; return the number of messages, both directions.

    Raise RuntimeError if a connection is not upgraded, is closed, or returns another message.
    """
    with ExitStack() as stack:
        poll = select.epoll()
        stack.callback(poll.close)
        socks: dict[int, socket.socket] = {}
        pending: dict[int, bytes] = {}
        for _ in range(connections):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _upgrade(sock)
            socks[sock.fileno()] = sock
            pending[sock.fileno()] = b""
            poll.register(sock.fileno(), select.EPOLLIN)
        for sock in socks.values():
            sock.sendall(QUESTION)
        done = 0
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for fd, _ in poll.poll(0.1):
                received = socks[fd].recv(4096)
                if not received:
                    raise RuntimeError("a WebSocket was closed")
                pending[fd] += received
                if len(pending[fd]) >= len(ECHO):
                    if pending[fd] != ECHO:
                        raise RuntimeError("a message came back changed")
                    pending[fd] = b""
                    done += 1
                    socks[fd].sendall(QUESTION)
    return 2 * done


def _upgrade(sock: socket.socket) -> None:
    sock.sendall(UPGRADE)
    head = b""
    while b"\r\n\r\n" not in head:
        block = sock.recv(4096)
        if not block:
            break
        head += block
    if not head.startswith(b"HTTP/1.1 101 "):
        raise RuntimeError(f"no WebSocket: {head[:60]!r}")


class _Connection:
    """One client of the server: a WebSocket, or an upload with Content-Length."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = bytearray()
        self.upgraded = False
        self.left: int | None = None
        """Bytes of the body that have not arrived."""

    def read(self) -> bool:
        """Read once and answer; return False if the connection has ended."""
        try:
            block = self.sock.recv(1 << 18)
            if self.left is not None:
                return self.take(len(block)) and bool(block)
            self.received += block
            if not self.upgraded and b"\r\n\r\n" in self.received:
                self.begin()
            if self.upgraded and (count := len(self.received) // len(QUESTION)):
                del self.received[: count * len(QUESTION)]
                self.sock.sendall(ECHO * count)
        except OSError:
            return False
        return bool(block)

    def begin(self) -> None:
        """Take the head of the request."""
        head, _, rest = bytes(self.received).partition(b"\r\n\r\n")
        self.received = bytearray(rest)
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if length:
            self.left = int(length[1])
            self.take(len(rest))
        else:
            self.upgraded = True
            self.sock.sendall(SWITCH)

    def take(self, count: int) -> bool:
        """Count a part of the body, and respond to its end; return True if more is expected."""
        self.left = (self.left or 0) - count
        if self.left > 0:
            return True
        self.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\ntaken")
        return False


def serve(port: int) -> None:
    """Echo messages and take uploads until the process is stopped."""
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    poll = select.epoll()
    poll.register(listener.fileno(), select.EPOLLIN)
    clients: dict[int, _Connection] = {}
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                sock, _address = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                clients[sock.fileno()] = _Connection(sock)
                poll.register(sock.fileno(), select.EPOLLIN)
            elif not clients[fd].read():
                poll.unregister(fd)
                clients.pop(fd).sock.close()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
