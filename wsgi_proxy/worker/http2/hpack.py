"""Header compression (RFC 7541): the decoder of requests' fields, and the encoder of responses'.

Rules:
- The decoder is strict: an index without an entry, a truncated or overlong integer, a size update behind a field or above the
  limit, and bad padding are DecodeError, after which the connection cannot continue (RFC 9113, section 4.3).
- The expanded size of a block is bounded (`limit`), because a few bytes can name a large entry again and again.
- The encoder uses the static table and literals only, as nginx does. It has no state: the size of one response tells nothing
  about another (CRIME), and the responses of a connection may be sent in any order.
- Text is WSGI's: a character is a byte (latin-1).
"""

from __future__ import annotations

from typing import Final

from ...http import Pairs
from .huffman import HuffmanError
from .huffman import decode as decode_huffman

_STATIC: Final = """
:authority
:method=GET
:method=POST
:path=/
:path=/index.html
:scheme=http
:scheme=https
:status=200
:status=204
:status=206
:status=304
:status=400
:status=404
:status=500
accept-charset
accept-encoding=gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate
"""
TABLE_SIZE: Final = 4096
"""Bytes of the decoder's dynamic table, the default of SETTINGS_HEADER_TABLE_SIZE."""
_OVERHEAD: Final = 32
"""The octets that count for each entry in addition to its own (RFC 7541, section 4.1)."""
_MAX_SHIFT: Final = 28
"""The largest number of bits of an integer before another seven are refused."""


def _static() -> Pairs:
    parted = [line.partition("=") for line in _STATIC.split("\n")[1:-1]]
    return [("", ""), *((name, value) for name, _, value in parted)]


_TABLE: Final = _static()
_SIZE: Final = len(_TABLE)


class DecodeError(ValueError):
    """A block that is not HPACK, or exceeds the limit when expanded (`too_large`)."""

    def __init__(self, what: str, too_large: bool = False) -> None:
        super().__init__(what)
        self.too_large = too_large


class Decoder:
    """The decoder of one connection. `limit` bounds the size of a block's fields (RFC 9113, section 6.5.2)."""

    __slots__ = ("_data", "_dynamic", "_max_size", "_position", "_size", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._dynamic: Pairs = []
        """The newest entry comes last."""
        self._size = 0
        self._max_size = TABLE_SIZE
        self._data = b""
        self._position = 0

    def decode(self, data: bytes) -> Pairs:
        """Return the fields of a complete block. Raises DecodeError."""
        self._data = data
        self._position = 0
        end = len(data)
        static = _TABLE
        dynamic = self._dynamic
        fields: Pairs = []
        total = 0
        while self._position < end:
            first = data[self._position]
            if first >= 0x80:
                index = first & 0x7F
                if index == 0x7F:
                    index = self._integer(0x7F)
                else:
                    self._position += 1
                if 0 < index < _SIZE:
                    field = static[index]
                else:
                    index -= _SIZE - 1
                    if index < 1 or index > len(dynamic):
                        raise DecodeError("an index without an entry")
                    field = dynamic[-index]
            elif first >= 0x40:
                field = self._literal(0x3F)
                self._add(field)
            elif first >= 0x20:
                if fields:
                    raise DecodeError("a size update behind a field")
                self._resize(self._integer(0x1F))
                continue
            else:
                field = self._literal(0x0F)
            total += len(field[0]) + len(field[1]) + _OVERHEAD
            if total > self.limit:
                raise DecodeError("more fields than the limit allows", True)
            fields.append(field)
        self._data = b""
        return fields

    def _integer(self, prefix: int) -> int:
        """Read an integer (RFC 7541, section 5.1) whose first octet has a prefix of these bits."""
        data = self._data
        position = self._position
        end = len(data)
        if position >= end:
            raise DecodeError("a truncated integer")
        value = data[position] & prefix
        position += 1
        if value == prefix:
            shift = 0
            while True:
                if position >= end:
                    raise DecodeError("a truncated integer")
                octet = data[position]
                position += 1
                value += (octet & 0x7F) << shift
                if octet < 0x80:
                    break
                shift += 7
                if shift > _MAX_SHIFT:
                    raise DecodeError("an integer that is too large")
        self._position = position
        return value

    def _string(self) -> str:
        data = self._data
        if self._position >= len(data):
            raise DecodeError("a truncated string")
        coded = data[self._position] >= 0x80
        length = self._integer(0x7F)
        start = self._position
        end = start + length
        if end > len(data):
            raise DecodeError("a truncated string")
        self._position = end
        octets = data[start:end]
        if not coded:
            return octets.decode("latin-1")
        try:
            return decode_huffman(octets)
        except HuffmanError as error:
            raise DecodeError(str(error)) from error

    def _literal(self, prefix: int) -> tuple[str, str]:
        index = self._integer(prefix)
        if index == 0:
            name = self._string()
        elif index < _SIZE:
            name = _TABLE[index][0]
        else:
            index -= _SIZE - 1
            if index > len(self._dynamic):
                raise DecodeError("an index without an entry")
            name = self._dynamic[-index][0]
        return name, self._string()

    def _add(self, field: tuple[str, str]) -> None:
        size = len(field[0]) + len(field[1]) + _OVERHEAD
        self._evict(self._max_size - size)
        if size <= self._max_size:
            self._dynamic.append(field)
            self._size += size

    def _evict(self, size: int) -> None:
        """Drop the oldest entries until the table has at most `size` bytes."""
        gone = 0
        dynamic = self._dynamic
        while self._size > size and gone < len(dynamic):
            name, value = dynamic[gone]
            self._size -= len(name) + len(value) + _OVERHEAD
            gone += 1
        if gone:
            del dynamic[:gone]

    def _resize(self, size: int) -> None:
        if size > TABLE_SIZE:
            raise DecodeError("a table larger than was allowed")
        self._max_size = size
        self._evict(size)


# --- encoding ---------------------------------------------------------------------------------------------------------------


def _integer_bytes(value: int, prefix: int, flags: int) -> bytes:
    """Return an integer in HPACK's form behind the flags of its first octet."""
    if value < prefix:
        return bytes((flags | value,))
    made = [flags | prefix]
    value -= prefix
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def _name_bytes(name: str) -> bytes:
    """Return the beginning of a literal field: its name, as an index if the static table has it."""
    flags = 0x10 if name == "set-cookie" else 0
    for index in range(1, _SIZE):
        if _TABLE[index][0] == name:
            return _integer_bytes(index, 0x0F, flags)
    return bytes((flags,)) + _integer_bytes(len(name), 0x7F, 0) + name.encode("latin-1")


_LENGTHS: Final = [bytes((length,)) for length in range(0x7F)]
_names: Final[dict[str, bytes]] = {}
_MAX_NAMES: Final = 4096
_STATUS: Final = {value: bytes((0x80 | index,)) for index, (name, value) in enumerate(_TABLE) if name == ":status"}


def encode_status(status: str) -> bytes:
    """Return `:status` (three digits) as the first field of a block."""
    known = _STATUS.get(status)
    return known if known is not None else b"\x08\x03" + status.encode("latin-1")


def encode_field(name: str, value: str) -> bytes:
    """Return a field as a literal that is not indexed. The name's case is lost (RFC 9113, section 8.2)."""
    start = _names.get(name)
    if start is None:
        start = _name_bytes(name.lower())
        if len(_names) < _MAX_NAMES:
            _names[name] = start
    octets = value.encode("latin-1")
    length = len(octets)
    if length < 0x7F:
        return start + _LENGTHS[length] + octets
    return start + _integer_bytes(length, 0x7F, 0) + octets


EMPTY_TABLE: Final = b"\x20"
"""A size update to 0. It must open the next block after a peer has made its table smaller (RFC 7541, section 4.2)."""
