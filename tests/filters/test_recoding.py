"""Conversions by tables, whole and in pieces of any size."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wsgi_proxy.config import CharsetMap
from wsgi_proxy.filters.recoding import recoding

TO_UTF8 = CharsetMap("koi8-r", "utf-8", tuple((code, bytes([code]).decode("koi8-r").encode()) for code in range(0xC0, 0x100)))
OCTETS = CharsetMap(
    "koi8-r", "windows-1251", tuple((code, bytes([code]).decode("koi8-r").encode("cp1251")) for code in range(0xC0, 0x100))
)
TEXT = "Съешь ещё этих мягких французских булок".replace("ё", "е")


def converted(table: CharsetMap, backwards: bool, data: bytes, size: int = 1 << 20) -> bytes:
    def blocks() -> Iterator[bytes]:
        for at in range(0, len(data), size):
            yield data[at : at + size]
            yield b""

    return b"".join(recoding(table, backwards).transform(blocks()))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_both_directions(size: int) -> None:
    assert converted(TO_UTF8, False, TEXT.encode("koi8-r"), size) == TEXT.encode()
    assert converted(TO_UTF8, True, TEXT.encode(), size) == TEXT.encode("koi8-r")
    assert converted(OCTETS, False, TEXT.encode("koi8-r"), size) == TEXT.encode("cp1251")
    assert converted(OCTETS, True, TEXT.encode("cp1251"), size) == TEXT.encode("koi8-r")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("€ and \U0001f600".encode(), b"&#8364; and &#128512;"),
        (b"a\xffb\x80c\xc1d", b"a?b?c?d"),
        (b"\xd1a\xd1\x8e", b"?\xc0"),
        (b"\xe2\x82z!", b"?!"),
        (b"\xf4\x90\x80\x80.", b"?."),
        (b"\xed\xa0\x80.", b"&#55296;."),
        (b"\xe0\x80\x80.\xf0\x80\x80\x80.", b"?.?."),
        (b"ab\xd1", b"ab"),
        (b"\xf0\x9f\x98", b""),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_characters_without_a_byte_and_malformed_sequences(data: bytes, expected: bytes, size: int) -> None:
    assert converted(TO_UTF8, True, data, size) == expected


def test_bytes_without_a_character() -> None:
    assert converted(TO_UTF8, False, b"\x80a\xc0") == "?aю".encode()
    assert converted(OCTETS, False, b"\x80a\xc0") == b"?a\xfe"


def test_a_table_may_change_ascii() -> None:
    table = CharsetMap("x", "utf-8", ((0x5C, "¥".encode()),))
    assert converted(table, False, b"a\\b") == "a¥b".encode()


def test_marks_pass() -> None:
    assert list(recoding(TO_UTF8, True).transform(iter([b"a", b"", b"\xd1", b"", b"\x8e"]))) == [b"a", b"", b"", b"\xc0"]
