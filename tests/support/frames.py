"""A client of HTTP/2 that sends single frames, right or wrong, and reads the server's. The hpack package codes its fields."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import NamedTuple

import hpack

from .ports import connect

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
KINDS = DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 1
END_HEADERS, PADDED, WITH_PRIORITY = 4, 8, 0x20

Pairs = list[tuple[str, str]]
PSEUDO: Pairs = [(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", "/")]


def fields(*more: tuple[str, str], **pseudo: str) -> Pairs:
    """Return the fields of a request: GET / with other pseudo-header fields by name, and more fields."""
    return [(name, pseudo.get(name[1:], value)) for name, value in PSEUDO] + list(more)


class Frame(NamedTuple):
    """One frame."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """The error code of a RST_STREAM or GOAWAY."""
        return int.from_bytes(self.payload[:4] if self.kind == RST_STREAM else self.payload[4:8], "big")


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", length: int | None = None) -> bytes:
    """Return a frame's bytes. `length` replaces the length of its payload with a wrong one."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", name, value) for name, value in pairs))


def number(kind: int, stream: int, value: int) -> bytes:
    """Return a RST_STREAM or WINDOW_UPDATE."""
    return frame(kind, 0, stream, struct.pack(">I", value))


class FrameClient:
    """One connection. `seen` holds the frames received, `fields` and `bodies` their content by stream."""

    def __init__(self, port: int, first: bytes = PREFACE + settings(), sock: socket.socket | None = None) -> None:
        self.sock = sock or connect(port, 60)
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.fragment = b""
        self.buffer = b""
        self.seen: list[Frame] = []
        self.fields: dict[int, list[Pairs]] = {}
        self.bodies: dict[int, bytes] = {}
        self.send(first)

    def __enter__(self) -> FrameClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send; a connection that the server has closed meanwhile is for `read` to find."""
        try:
            self.sock.sendall(data)
        except ConnectionError:
            return

    def block(self, pairs: Pairs) -> bytes:
        """Return a field block."""
        return bytes(self.encoder.encode([(a.encode("latin-1"), b.encode("latin-1")) for a, b in pairs]))

    def request(self, stream: int, pairs: Pairs | None = None, end: bool = True) -> None:
        """Send HEADERS."""
        block = self.block(fields() if pairs is None else pairs)
        self.send(frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block))

    def read(self) -> Frame | None:
        """Return the next frame; None at the connection's end."""
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
            try:
                data = self.sock.recv(65536)
            except ConnectionError:
                return None
            if not data:
                return None
            self.buffer += data
        end = 9 + int.from_bytes(self.buffer[:3], "big")
        head, payload, self.buffer = self.buffer[:9], self.buffer[9:end], self.buffer[end:]
        found = Frame(head[3], head[4], int.from_bytes(head[5:9], "big"), payload)
        self.seen.append(found)
        if found.kind == HEADERS or found.kind == CONTINUATION:
            self.fragment = found.payload if found.kind == HEADERS else self.fragment + found.payload
            if not found.flags & END_HEADERS:
                return found
            decoded = self.decoder.decode(self.fragment, raw=True)
            pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in decoded]
            self.fields.setdefault(found.stream, []).append(pairs)
        elif found.kind == DATA:
            self.bodies[found.stream] = self.bodies.get(found.stream, b"") + found.payload
        return found

    def until(self, wanted: Callable[[Frame], bool]) -> Frame | None:
        """Return the first frame that is wanted; None when the connection ends before."""
        while (found := self.read()) is not None:
            if wanted(found):
                return found
        return None

    def outcome(self, stream: int = 1) -> tuple[str, int]:
        """Return what becomes of a stream: ("response", status), ("reset", code), ("goaway", code), or ("end", 0)."""
        while (found := self.read()) is not None:
            if found.kind == GOAWAY:
                return "goaway", found.code
            if found.stream != stream:
                continue
            if found.kind == RST_STREAM:
                return "reset", found.code
            if found.kind in (HEADERS, DATA) and found.flags & END_STREAM:
                return "response", self.status(stream)
        return "end", 0

    def status(self, stream: int = 1) -> int:
        """Return the final status of a response."""
        found = [int(dict(pairs)[":status"]) for pairs in self.fields.get(stream, []) if ":status" in dict(pairs)]
        return found[-1] if found else 0

    def get(self, stream: int, pairs: Pairs | None = None) -> tuple[int, bytes]:
        """Send a request without a body; return its response's status and body."""
        self.request(stream, pairs)
        assert self.outcome(stream)[0] == "response", self.seen
        return self.status(stream), self.bodies.get(stream, b"")

    def alive(self) -> bool:
        """Return True if a PING is answered."""
        self.send(frame(PING, 0, 0, b"are you?"))
        return self.until(lambda found: found.kind == PING and found.payload == b"are you?") is not None

    def ends(self) -> bool:
        """Return True if the server ends the connection."""
        return self.until(lambda found: False) is None
