"""addresses: IP addresses as numbers."""

from __future__ import annotations

import pytest

from wsgi_proxy.net.addresses import address_number, address_text, packed_address


@pytest.mark.parametrize(
    "text, number",
    [
        ("0.0.0.0", (32, 0)),
        ("255.255.255.255", (32, 2**32 - 1)),
        ("::1", (128, 1)),
        ("::ffff:10.0.0.1", (32, 0x0A000001)),
        ("::FFFF:a00:1", (32, 0x0A000001)),
        ("::10.0.0.1", (128, 0x0A000001)),
    ],
)
def test_an_address_is_a_number_and_its_width(text: str, number: tuple[int, int]) -> None:
    packed = packed_address(text)
    assert packed is not None and address_number(packed) == number


@pytest.mark.parametrize("text", ["", "junk", "1.2.3", "1.2.3.4.5", "[::1]", "::1%lo", "::1::", "1.2.3.4\0", "unix:", "é:"])
def test_any_other_text_is_none(text: str) -> None:
    assert packed_address(text) is None


def test_socket_addresses_as_nginx_writes_them() -> None:
    texts = [address_text(address) for address in (("0.0.0.0", 80), ("::1", 2), "/run/x")]
    assert texts == ["0.0.0.0:80", "[::1]:2", "unix:/run/x"]
