"""Conversion between character sets by the tables of `charset_map`.

Rules:
- ASCII stays. A byte that the table does not name becomes `?`, a character without a byte becomes `&#number;`.
- UTF-8 is decoded as nginx does (ngx_utf8_decode): each malformed sequence becomes one `?`, and surrogates are characters. A
  sequence that a block cuts waits for the next block; one that the end of the body cuts is dropped.
Source: ngx_http_charset_filter_module, by behaviour.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from .pipeline import Transform

if TYPE_CHECKING:
    from ..config import CharsetMap

UTF8 = "utf-8"


class Recoding:
    """A conversion. With `changes_length` the length of a converted body is unknown."""

    __slots__ = ("changes_length", "transform")

    def __init__(self, transform: Transform, changes_length: bool) -> None:
        self.transform = transform
        self.changes_length = changes_length


@cache
def recoding(table: CharsetMap, backwards: bool) -> Recoding:
    """Return the conversion from a map's first character set to its second, or `backwards` from the second to the first."""
    if table.target == UTF8:
        return Recoding(_from_utf8(table) if backwards else _to_utf8(table), True)
    octets = bytearray(range(128)) + b"?" * 128
    for source, target in table.pairs:
        if backwards:
            octets[target[0]] = source
        else:
            octets[source] = target[0]
    fixed = bytes(octets)

    def transform(blocks: Iterator[bytes]) -> Iterator[bytes]:
        return (block.translate(fixed) for block in blocks)

    return Recoding(transform, False)


def _to_utf8(table: CharsetMap) -> Transform:
    found = {code: chr(code) if code < 128 else "?" for code in range(256)}
    found.update((source, target.decode("latin-1")) for source, target in table.pairs)
    plain = all(found[code] == chr(code) for code in range(128))

    def transform(blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            if plain and block.isascii():
                yield block
            else:
                yield block.decode("latin-1").translate(found).encode("latin-1")

    return transform


def _from_utf8(table: CharsetMap) -> Transform:
    octets: dict[int, int] = {}
    for source, target in table.pairs:
        code = _decoded(target, 0)[0]
        if code is not None:
            octets[code] = source
    octets.update((code, code) for code in range(128))

    def transform(blocks: Iterator[bytes]) -> Iterator[bytes]:
        saved = b""
        for block in blocks:
            if not block:
                yield b""
                continue
            if not saved and block.isascii():
                yield block
                continue
            block = saved + block
            cut = _unfinished(block)
            block, saved = (block[:-cut], block[-cut:]) if cut else (block, b"")
            if block:
                yield codecs.charmap_encode(_text(block), "xmlcharrefreplace", octets)[0]

    return transform


def _text(data: bytes) -> str:
    """Return the characters of whole sequences, `?` for each malformed one."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass
    found, at = [], 0
    while at < len(data):
        code, at = _decoded(data, at)
        found.append("?" if code is None else chr(code))
    return "".join(found)


def _length(lead: int) -> int:
    """Return the number of bytes of the sequence that a byte begins; 0 for a byte that begins none."""
    if lead < 0x80:
        return 1
    return 0 if lead < 0xC2 or lead >= 0xF8 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4


def _decoded(data: bytes, at: int) -> tuple[int | None, int]:
    """Return (code of the character at an offset, offset behind it); None for a malformed sequence."""
    lead = data[at]
    length = _length(lead)
    if length < 2:
        return (lead if length else None), at + 1
    code = lead & (0xFF >> (length + 1))
    for number in range(at + 1, min(at + length, len(data))):
        if data[number] < 0x80:
            return None, number + 1
        code = code << 6 | data[number] & 0x3F
    smallest = (0, 0, 0x80, 0x800, 0x10000)[length]
    return (code if smallest <= code <= 0x10FFFF else None), at + length


def _unfinished(data: bytes) -> int:
    """Return the number of bytes at the end that begin a sequence and do not finish it, at most 3."""
    for count in range(1, min(3, len(data)) + 1):
        lead = data[-count]
        if lead < 0x80:
            return 0
        if lead >= 0xC2:
            return count if _length(lead) > count else 0
    return 0
