"""The Huffman code of HPACK (RFC 7541, section 5.2 and appendix B), read four bits at a time.

Rules:
- Padding longer than 7 bits, padding that is not the beginning of EOS, and EOS itself are errors (RFC 7541, section 5.2).
- Text is WSGI's: a character is a byte (latin-1).
- The code is canonical, so the table holds only the lengths of the codes.
"""

from __future__ import annotations

from typing import Final

_LENGTHS: Final = """
    13 23 28 28 28 28 28 28 28 24 30 28 28 30 28 28 28 28 28 28 28 28 30 28 28 28 28 28 28 28 28 28 6 10 10 12 13 6 8 11
    10 10 8 11 8 6 6 6 5 5 5 6 6 6 6 6 6 6 7 8 15 6 12 10 13 6 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 8 7 8 13 19
    13 14 6 15 5 6 5 6 5 6 6 6 5 7 7 6 6 6 5 6 7 6 5 5 6 7 7 7 7 7 15 11 14 13 28 20 22 20 20 22 22 22 23 22 23 23 23 23
    23 24 23 24 24 22 23 24 23 23 23 23 21 22 23 22 23 23 24 22 21 20 22 22 23 23 21 23 22 22 24 21 22 23 23 21 21 22 21
    23 22 23 23 20 22 22 22 23 22 22 23 26 26 20 19 22 23 22 25 26 26 26 27 27 26 24 25 19 21 26 27 27 26 27 24 21 21 26
    26 28 27 27 27 20 24 20 21 22 21 21 23 22 22 25 25 24 24 26 23 26 27 26 26 27 27 27 27 27 28 27 27 27 27 27 26 30
"""
"""Bits of the code of each of the 256 bytes and of EOS."""
_EOS: Final = 256
_PAIRS_KEPT: Final = 1024
_LONGEST_KEPT: Final = 96


class HuffmanError(ValueError):
    """Bytes that are not a Huffman code."""


def codes() -> list[tuple[int, int]]:
    """Return (code, bits) of each byte and of EOS."""
    lengths = [int(word) for word in _LENGTHS.split()]
    found = [(0, 0)] * len(lengths)
    code = before = 0
    for symbol in sorted(range(len(lengths)), key=lambda symbol: (lengths[symbol], symbol)):
        code <<= lengths[symbol] - before
        before = lengths[symbol]
        found[symbol] = (code, before)
        code += 1
    return found


def _tree() -> list[list[int]]:
    """Return the nodes of the code's tree: for each bit the next node, or -1 - symbol at a leaf; 0 is the root."""
    nodes: list[list[int]] = [[0, 0]]
    for symbol, (code, bits) in enumerate(codes()):
        node = 0
        for shift in range(bits - 1, 0, -1):
            bit = code >> shift & 1
            if nodes[node][bit] == 0:
                nodes.append([0, 0])
                nodes[node][bit] = len(nodes) - 1
            node = nodes[node][bit]
        nodes[node][code & 1] = -1 - symbol
    return nodes


def _steps(nodes: list[list[int]]) -> list[int]:
    """Return, for node * 16 + four bits, next node * 512 + symbol + 1 (0 for none); -1 where EOS is met."""
    steps: list[int] = []
    for start in range(len(nodes)):
        for four in range(16):
            node, symbol = start, 0
            for shift in (3, 2, 1, 0):
                node = nodes[node][four >> shift & 1]
                if node < 0:
                    symbol, node = -node, 0
            steps.append(-1 if symbol == _EOS + 1 else node * 512 + symbol)
    return steps


def _ends(nodes: list[list[int]]) -> list[bool]:
    """Return, for each node, whether a string may end there: at most 7 bits into EOS, which is all ones."""
    ends = [False] * len(nodes)
    node = 0
    for _ in range(8):
        ends[node] = True
        node = nodes[node][1]
    return ends


_NODES: Final = _tree()
_STEPS: Final = _steps(_NODES)
_ENDS: Final = _ends(_NODES)
_CHARACTERS: Final = [""] + [chr(byte) for byte in range(256)]
_known: Final[dict[bytes, str]] = {}


def decode(data: bytes) -> str:
    """Return the text of a Huffman-coded string, from memory if it has been decoded before. Raises HuffmanError."""
    text = _known.get(data)
    if text is not None:
        return text
    steps = _STEPS
    characters = _CHARACTERS
    out: list[str] = []
    node = 0
    for byte in data:
        step = steps[node * 16 + (byte >> 4)]
        if step < 0:
            raise HuffmanError("EOS within a string")
        if step & 511:
            out.append(characters[step & 511])
        step = steps[(step >> 9) * 16 + (byte & 15)]
        if step < 0:
            raise HuffmanError("EOS within a string")
        if step & 511:
            out.append(characters[step & 511])
        node = step >> 9
    if not _ENDS[node]:
        raise HuffmanError("a string that ends within a code")
    text = "".join(out)
    if len(data) <= _LONGEST_KEPT:
        if len(_known) >= _PAIRS_KEPT:
            _known.clear()
        _known[data] = text
    return text
