"""The Range field, parsed as nginx does. Pure.

Rules:
- Ranges that begin behind the end are left out. If none remains, the response is 416. A malformed list of byte ranges is 416 as
  well; a field with another unit is ignored (RFC 9110, section 14.2).
- Ranges that are longer in total than the whole are answered with the whole, so a request cannot multiply a file.
Source: ngx_http_range_parse.
"""

from __future__ import annotations

import os
import re

NOT_SATISFIABLE = 416
_MAX = 2**63 - 1
_ONE = re.compile(r" *(?:(\d+) *- *(\d*)|- *(\d+)) *(,|$)", re.ASCII)


def parse_ranges(field: str, size: int, limit: int | None = None) -> list[tuple[int, int]] | int | None:
    """Return [(start, end)] in bytes with `end` exclusive, or NOT_SATISFIABLE, or None to send the whole.

    >>> parse_ranges("bytes=0-1,-2", 10)
    [(0, 2), (8, 10)]
    """
    if len(field) < 7 or field[:6].lower() != "bytes=":
        return None
    found: list[tuple[int, int]] = []
    total = 0
    at = 6
    while True:
        match = _ONE.match(field, at)
        if match is None:
            return NOT_SATISFIABLE
        first, last, suffix, separator = match.groups()
        if any(digits and int(digits) > _MAX for digits in (first, last, suffix)):
            return NOT_SATISFIABLE
        if suffix is not None:
            start, end = max(size - int(suffix), 0), size
        else:
            start, end = int(first), min(int(last) + 1, size) if last else size
        if start < end:
            found.append((start, end))
            total += end - start
            if limit is not None and len(found) > limit:
                return None
        elif start == 0:
            return None
        if not separator:
            break
        at = match.end()
    if not found:
        return NOT_SATISFIABLE
    return None if total > size else found


def byteranges(kind: str, size: int, ranges: list[tuple[int, int]]) -> tuple[str, list[tuple[bytes, int, int]], bytes, int]:
    """Return a multipart/byteranges body for parts of `size` bytes of the media type `kind` (RFC 9110, section 14.6).

    The values are its Content-Type, (the head, the first byte, the number of bytes) of each part, the end of the body, and its
    length.
    """
    boundary = f"{int.from_bytes(os.urandom(8), 'big'):020}"
    heads = []
    for start, end in ranges:
        shown = f"Content-Type: {kind}\r\n" if kind else ""
        head = f"\r\n--{boundary}\r\n{shown}Content-Range: bytes {start}-{end - 1}/{size}\r\n\r\n"
        heads.append((head.encode("latin-1"), start, end - start))
    tail = f"\r\n--{boundary}--\r\n".encode()
    length = sum(len(head) + count for head, _, count in heads) + len(tail)
    return f"multipart/byteranges; boundary={boundary}", heads, tail, length
