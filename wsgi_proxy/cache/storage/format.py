"""The form of an entry on disk: metadata and body in one file, which is either whole or recognised as damaged.

Rules:
- A file is a *superblock* of 64 bytes, a *head* (JSON) and the body. The superblock has the offsets of head and body, and
  checksums of itself, the head and the body. A foreign, torn or truncated file is a BrokenEntry and is never sent.
- The superblock's state tells the readers of a file that is being written how far it is:
  - CLAIMED (an empty file): a leader asks the upstream.
  - FILLING: the head is written, and the body grows behind it.
  - COMPLETE: all is written. The superblock has the body's length and checksum.
  - VOID: no more bytes will come, and the length is unknown. The readers must ask the upstream.
- A 304 gives an entry a new head. It is appended behind the body, and one write of the superblock points to it.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from typing import Final

from .entry import BrokenEntry, Entry, VaryIndex, new_id

CLAIMED, FILLING, COMPLETE, VOID = range(4)

MAGIC: Final = b"WSGIPXY1"
# magic, state, head crc, head offset, head length, body crc, body offset, body length (-1: growing), id; then its own crc.
_FIELDS: Final = struct.Struct("<8sB3xIQIIQqQ")
_CRC: Final = struct.Struct("<I")
SUPERBLOCK: Final = 64
_PAD: Final = b"\0" * (SUPERBLOCK - _FIELDS.size - _CRC.size)
# Bytes of the first read: the head and usually a small body with it.
FIRST_READ: Final = 16 * 1024
HEAD_MAX: Final = 1024 * 1024
# Bodies up to this size are kept in memory with the entry. Larger ones are sent from their file.
SMALL_BODY: Final = 32 * 1024
# A body's checksum is verified when the entry is loaded, up to this size. Beyond it only the length is, as in other caches.
CHECKED_BODY: Final = 8 * 1024 * 1024


class Superblock:
    """The first 64 bytes, decoded."""

    __slots__ = ("body_crc", "body_length", "body_offset", "head_crc", "head_length", "head_offset", "id", "state")

    def __init__(
        self,
        state: int,
        head: bytes,
        head_offset: int,
        body_offset: int,
        body_length: int,
        body_crc: int,
        id: int,
    ) -> None:
        self.state = state
        self.head_crc = zlib.crc32(head)
        self.head_offset = head_offset
        self.head_length = len(head)
        self.body_crc = body_crc
        self.body_offset = body_offset
        self.body_length = body_length
        self.id = id

    def pack(self) -> bytes:
        """Return the 64 bytes of this superblock."""
        fields = _FIELDS.pack(
            MAGIC,
            self.state,
            self.head_crc,
            self.head_offset,
            self.head_length,
            self.body_crc,
            self.body_offset,
            self.body_length,
            self.id,
        )
        return fields + _CRC.pack(zlib.crc32(fields)) + _PAD

    @classmethod
    def unpack(cls, data: bytes) -> Superblock:
        """Return the superblock of a file's first 64 bytes. BrokenEntry if they are not one, or are damaged."""
        if len(data) < SUPERBLOCK:
            raise BrokenEntry("too short")
        if data[:8] != MAGIC:
            raise BrokenEntry("not a file of this cache")
        fields = data[: _FIELDS.size]
        if _CRC.unpack_from(data, _FIELDS.size)[0] != zlib.crc32(fields):
            raise BrokenEntry("damaged superblock")
        block = cls.__new__(cls)
        (
            _,
            block.state,
            block.head_crc,
            block.head_offset,
            block.head_length,
            block.body_crc,
            block.body_offset,
            block.body_length,
            block.id,
        ) = _FIELDS.unpack(fields)
        if block.head_length > HEAD_MAX:
            raise BrokenEntry("head too long")
        return block


def announce_length(entry: Entry) -> None:
    """Add Content-Length to a response that had none (chunked, or ended by the connection)."""
    if entry.status != 204 and not any(name.lower() == "content-length" for name, _ in entry.headers):
        entry.headers.append(("Content-Length", str(entry.body_length)))


def decode_head(head: bytes, crc: int) -> Entry | VaryIndex:
    """Return the entry or index of a head. BrokenEntry if it is damaged."""
    if zlib.crc32(head) != crc:
        raise BrokenEntry("damaged head")
    try:
        decoded = json.loads(head)
    except ValueError:
        raise BrokenEntry("unreadable head") from None
    if not isinstance(decoded, dict) or not isinstance(decoded.get("key"), str):
        raise BrokenEntry("unreadable head")
    return VaryIndex.of_head(decoded) if decoded.get("kind") == "vary" else Entry.of_head(decoded)


def load(fd: int, *, whole: bool = True) -> tuple[Superblock, Entry | VaryIndex]:
    """Return the superblock and the entry or index of an open file, with the body if it is small.

    With `whole` the file must be COMPLETE and have all of its body; otherwise it must have a head and not be VOID. BrokenEntry if
    that does not hold, or if the file is damaged.
    """
    first = os.pread(fd, FIRST_READ, 0)
    block = Superblock.unpack(first)
    if block.state == VOID:
        raise BrokenEntry("given up")
    end = block.head_offset + block.head_length
    head = first[block.head_offset : end] if end <= len(first) else os.pread(fd, block.head_length, block.head_offset)
    found = decode_head(head, block.head_crc)
    if isinstance(found, Entry):
        found.id = block.id
        found.body_offset = block.body_offset
        found.body_length = block.body_length
        if whole:
            _load_body(fd, block, first, found)
            announce_length(found)
    return block, found


def _load_body(fd: int, block: Superblock, first: bytes, entry: Entry) -> None:
    if block.state != COMPLETE or block.body_length < 0:
        raise BrokenEntry("incomplete")
    end = block.body_offset + block.body_length
    if end <= len(first):
        body: bytes | None = first[block.body_offset : end]
        crc = zlib.crc32(body or b"")
    elif block.body_length <= CHECKED_BODY:
        body, crc = _read_checked(fd, block)
    else:
        if os.fstat(fd).st_size < end:
            raise BrokenEntry("truncated body")
        return
    if crc != block.body_crc:
        raise BrokenEntry("damaged body")
    entry.body = body


def _read_checked(fd: int, block: Superblock) -> tuple[bytes | None, int]:
    """Return (the body if it is small, its checksum), read in blocks."""
    blocks, crc, at, end = [], 0, block.body_offset, block.body_offset + block.body_length
    keep = block.body_length <= SMALL_BODY
    while at < end:
        data = os.pread(fd, min(end - at, 256 * 1024), at)
        if not data:
            raise BrokenEntry("truncated body")
        crc = zlib.crc32(data, crc)
        at += len(data)
        if keep:
            blocks.append(data)
    return (b"".join(blocks) if keep else None), crc


def encode(found: Entry | VaryIndex, body: bytes = b"") -> bytes:
    """Return the bytes of a complete file for an entry with its body, or for an index."""
    head = found.head()
    offset = SUPERBLOCK + len(head)
    block = Superblock(COMPLETE, head, SUPERBLOCK, offset, len(body), zlib.crc32(body), new_id())
    return block.pack() + head + body
