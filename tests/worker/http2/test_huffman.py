"""The Huffman code of RFC 7541, against the hpack package, and invalid codes."""

from __future__ import annotations

import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from wsgi_proxy.worker.http2.huffman import HuffmanError, codes, decode

ENCODER = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


def test_the_codes_are_those_of_appendix_b() -> None:
    assert codes() == list(zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True))


@given(st.binary(max_size=300))
def test_what_is_encoded_is_decoded(data: bytes) -> None:
    coded = ENCODER.encode(data)
    assert decode(coded) == data.decode("latin-1") == decode(coded)


def test_rfc_7541_appendix_c_4() -> None:
    assert decode(bytes.fromhex("f1e3c2e5f23a6ba0ab90f4ff")) == "www.example.com"
    assert decode(bytes.fromhex("a8eb10649cbf")) == "no-cache"


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"\x1f\xff",
        b"\x00",
        b"\xff\xff\xff\xff",
        b"\x1c\xff\xff\xff\xff",
        b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\x00",
    ],
    ids=["8 bits of padding", "more than 7 bits", "padding of zeros", "EOS", "EOS behind text", "padding that is no EOS"],
)
def test_what_is_no_code(data: bytes) -> None:
    """RFC 7541, section 5.2."""
    with pytest.raises(HuffmanError):
        decode(data)


def test_what_is_remembered_is_bounded() -> None:
    for number in range(3000):
        assert decode(ENCODER.encode(str(number).encode())) == str(number)
