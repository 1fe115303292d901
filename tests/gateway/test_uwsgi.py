"""The bytes of uwsgi and SCGI requests."""

from __future__ import annotations

import pytest

from tests.support.gateway import head
from wsgi_proxy.config import GatewaySettings
from wsgi_proxy.errors import ProxyError
from wsgi_proxy.gateway import SCGI, Uwsgi


def test_a_uwsgi_packet() -> None:
    uwsgi = Uwsgi(GatewaySettings("uwsgi", modifier1=5, modifier2=7))
    assert head(uwsgi, [("A", "bc"), ("\xe9", "")], 3) == b"\x05\x0c\x00\x07\x01\x00A\x02\x00bc\x01\x00\xe9\x00\x00"
    assert not uwsgi.streams and not uwsgi.keeps and uwsgi.status_line


def test_the_size_of_a_uwsgi_packet_is_little_endian() -> None:
    assert head(Uwsgi(GatewaySettings("uwsgi")), [("A", "b" * 600)], None)[:4] == b"\x00\x5d\x02\x00"


def test_variables_that_do_not_fit_a_uwsgi_packet() -> None:
    uwsgi = Uwsgi(GatewaySettings("uwsgi"))
    assert len(head(uwsgi, [("A", "b" * (65535 - 5))], None)) == 65539
    for size in (65535 - 4, 65535, 70000):
        with pytest.raises(ProxyError, match=r"uwsgi request is too big: \d+") as caught:
            head(uwsgi, [("A", "b" * size)], None)
        assert caught.value.status == 500


def test_an_scgi_netstring() -> None:
    scgi = SCGI(GatewaySettings("scgi"))
    assert head(scgi, [("SCGI", "1"), ("A", "")], 3) == b"27:CONTENT_LENGTH\x003\x00SCGI\x001\x00A\x00\x00,"
    assert head(scgi, [], None) == b"17:CONTENT_LENGTH\x000\x00,"
