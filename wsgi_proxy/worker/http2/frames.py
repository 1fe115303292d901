"""HTTP/2's frames (RFC 9113, sections 4 and 6): their numbers, their encoding, and the exceptions for broken ones."""

from __future__ import annotations

from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""The client's connection preface (RFC 9113, section 3.4)."""

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

NO_ERROR: Final = 0
PROTOCOL_ERROR: Final = 1
INTERNAL_ERROR: Final = 2
FLOW_CONTROL_ERROR: Final = 3
STREAM_CLOSED: Final = 5
FRAME_SIZE_ERROR: Final = 6
REFUSED_STREAM: Final = 7
CANCEL: Final = 8
COMPRESSION_ERROR: Final = 9
ENHANCE_YOUR_CALM: Final = 11

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6

FRAME_HEADER: Final = 9
FRAME_SIZE: Final = 16384
"""The payload in bytes that every peer accepts (RFC 9113, section 4.2)."""
RECEIVED_SIZE: Final = 64 * 1024
"""The largest payload in bytes that this side accepts; its SETTINGS say so."""
LARGEST_FRAME: Final = 2**24 - 1
MAX_WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65535


class ConnectionFault(Exception):
    """A connection error (RFC 9113, section 5.4.1): GOAWAY with `code` ends the connection."""

    def __init__(self, code: int, what: str) -> None:
        super().__init__(what)
        self.code = code


class StreamFault(Exception):
    """A stream error (RFC 9113, section 5.4.2): the stream is reset with `code`."""

    def __init__(self, code: int, what: str) -> None:
        super().__init__(what)
        self.code = code


def frame_header(length: int, kind: int, flags: int, stream: int) -> bytes:
    """Return the nine bytes before a payload of `length` bytes."""
    return (length << 48 | kind << 40 | flags << 32 | stream).to_bytes(9, "big")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a whole frame."""
    return frame_header(len(payload), kind, flags, stream) + payload


def header_frames(stream: int, block: bytes, ended: bool, size: int = FRAME_SIZE) -> bytes:
    """Return a field block as HEADERS, with CONTINUATION if it is larger than `size`; `ended` says that no DATA follows."""
    flags = END_STREAM if ended else 0
    if len(block) <= size:
        return frame_header(len(block), HEADERS, flags | END_HEADERS, stream) + block
    made = [frame(HEADERS, flags, stream, block[:size])]
    for start in range(size, len(block), size):
        last = start + size >= len(block)
        made.append(frame(CONTINUATION, END_HEADERS if last else 0, stream, block[start : start + size]))
    return b"".join(made)


def number_frame(kind: int, stream: int, value: int) -> bytes:
    """Return a RST_STREAM with an error code, or a WINDOW_UPDATE with an increment."""
    return frame(kind, 0, stream, value.to_bytes(4, "big"))


def goaway(last: int, code: int) -> bytes:
    """Return a GOAWAY; streams above `last` are not processed."""
    return frame(GOAWAY, 0, 0, (last << 32 | code).to_bytes(8, "big"))


def settings_frame(values: list[tuple[int, int]]) -> bytes:
    """Return a SETTINGS frame of (identifier, value)."""
    return frame(SETTINGS, 0, 0, b"".join((name << 32 | value).to_bytes(6, "big") for name, value in values))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Return the (identifier, value)s of a SETTINGS frame. Raises ConnectionFault for values that RFC 9113, 6.5.2, forbids."""
    if len(payload) % 6:
        raise ConnectionFault(FRAME_SIZE_ERROR, "SETTINGS of a wrong length")
    found: list[tuple[int, int]] = []
    for start in range(0, len(payload), 6):
        name = payload[start] << 8 | payload[start + 1]
        value = int.from_bytes(payload[start + 2 : start + 6], "big")
        if name == ENABLE_PUSH and value > 1:
            raise ConnectionFault(PROTOCOL_ERROR, "an invalid ENABLE_PUSH")
        if name == INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "an initial window that is too large")
        if name == MAX_FRAME_SIZE and not FRAME_SIZE <= value <= LARGEST_FRAME:
            raise ConnectionFault(PROTOCOL_ERROR, "an invalid MAX_FRAME_SIZE")
        found.append((name, value))
    return found


def without_padding(flags: int, payload: bytes) -> bytes:
    """Return a payload without its padding (RFC 9113, section 6.1)."""
    if not flags & PADDED:
        return payload
    if not payload:
        raise ConnectionFault(FRAME_SIZE_ERROR, "a padded frame without a length of padding")
    padding = payload[0]
    if padding >= len(payload):
        raise ConnectionFault(PROTOCOL_ERROR, "padding longer than its frame")
    return payload[1 : len(payload) - padding]
