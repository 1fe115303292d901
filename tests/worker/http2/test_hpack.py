"""HPACK (RFC 7541) against the hpack package as the peer, and input that a decoder must refuse."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_proxy.worker.http2.hpack import EMPTY_TABLE, DecodeError, Decoder, encode_field, encode_status

NAMES = st.sampled_from([":path", ":method", "cookie", "x-a", "user-agent", "x" * 200])
BLOCKS = st.lists(st.lists(st.tuples(NAMES, st.text(st.characters(max_codepoint=255), max_size=200)), max_size=8), max_size=6)


@given(BLOCKS, st.lists(st.sampled_from([0, 60, 300, 4096]), max_size=6), st.booleans())
def test_what_another_encodes_is_decoded(blocks: list[list[tuple[str, str]]], sizes: list[int], huffman: bool) -> None:
    encoder, decoder = hpack.Encoder(), Decoder(1 << 20)
    for at, block in enumerate(blocks):
        if at < len(sizes):
            encoder.header_table_size = sizes[at]
        coded = encoder.encode([(a.encode("latin-1"), b.encode("latin-1")) for a, b in block], huffman=huffman)
        assert decoder.decode(coded) == block


@given(BLOCKS)
def test_what_is_encoded_another_decodes(blocks: list[list[tuple[str, str]]]) -> None:
    decoder = hpack.Decoder()
    for block in blocks:
        coded = encode_status("404") + b"".join(encode_field(name.upper(), value) for name, value in block)
        found = decoder.decode(coded, raw=True)
        assert [(a.decode("latin-1"), b.decode("latin-1")) for a, b in found] == [(":status", "404"), *block]


@pytest.mark.parametrize("status", ["100", "103", "200", "204", "206", "304", "400", "404", "418", "500", "599"])
def test_statuses(status: str) -> None:
    assert hpack.Decoder().decode(EMPTY_TABLE + encode_status(status)) == [(":status", status)]


def test_rfc_7541_appendix_c() -> None:
    """C.3: three requests on one connection; C.4: the same, with Huffman coding."""
    plain = ["828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865"]
    coded = ["828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf"]
    third = {
        "plain": "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        "coded": "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    }
    for blocks in ([*plain, third["plain"]], [*coded, third["coded"]]):
        decoder = Decoder(1000)
        first, second, last = [decoder.decode(bytes.fromhex(block)) for block in blocks]
        assert first == [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")]
        assert second == [*first, ("cache-control", "no-cache")]
        assert last[1:3] == [(":scheme", "https"), (":path", "/index.html")] and last[4] == ("custom-key", "custom-value")


REFUSED = {
    "index 0": b"\x80",
    "an index behind the tables": b"\xbe",
    "a name's index behind the tables": b"\x7f\x00\x01a",
    "a large index": b"\xff\x7f",
    "an integer without an end": b"\xff\xff\xff",
    "an integer above 2^28": b"\xff" + b"\xff" * 12 + b"\x01",
    "a field of nothing": b"\x40",
    "a name without a value": b"\x40\x01a",
    "a name that is cut": b"\x40\x05ab",
    "a value that is cut": b"\x40\x01a\x05b",
    "a size above the limit": b"\x3f\xe2\x1f",
    "a size behind a field": b"\x82\x20",
    "padding of zeros": b"\x40\x01a\x81\x00",
    "EOS": b"\x40\x01a\x84\xff\xff\xff\xff",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    with pytest.raises(DecodeError) as caught:
        Decoder(1000).decode(REFUSED[name])
    assert not caught.value.too_large


@given(st.binary(max_size=64))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    try:
        Decoder(1 << 16).decode(data)
    except DecodeError:
        return


def test_the_table_is_bounded() -> None:
    """RFC 7541, section 4.4: an entry larger than the table empties it."""
    decoder = Decoder(1 << 20)
    decoder.decode(b"\x40\x01a\x01b")
    assert decoder.decode(b"\xbe") == [("a", "b")]
    decoder.decode(b"\x40\x01x\x7f\x81\x1f" + b"y" * 4096)
    with pytest.raises(DecodeError):
        decoder.decode(b"\xbe")
    decoder.decode(b"\x40\x01a\x01b" + b"\x40\x01c\x01d")
    assert decoder.decode(b"\x3f\x03\xbe") == [("c", "d")]
    with pytest.raises(DecodeError):
        decoder.decode(b"\xbf")


def test_a_list_above_the_limit() -> None:
    decoder = Decoder(100)
    assert decoder.decode(b"\x82\x82") == [(":method", "GET")] * 2
    with pytest.raises(DecodeError) as caught:
        decoder.decode(b"\x82\x82\x82")
    assert caught.value.too_large
