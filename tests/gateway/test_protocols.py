"""The protocol that a location's settings name."""

from __future__ import annotations

import pytest

from wsgi_proxy.config import GatewaySettings
from wsgi_proxy.gateway import SCGI, FastCGI, Gateway, Uwsgi, gateway_of


@pytest.mark.parametrize(("name", "kind"), [("fastcgi", FastCGI), ("uwsgi", Uwsgi), ("scgi", SCGI)])
def test_the_protocol_of_settings(name: str, kind: type[Gateway]) -> None:
    found = gateway_of(GatewaySettings(name))
    assert type(found) is kind and found.name == name


@pytest.mark.parametrize("name", ["uwsgi", "scgi"])
def test_a_body_is_sent_as_it_is_where_there_are_no_records(name: str) -> None:
    found = gateway_of(GatewaySettings(name))
    assert (found.body(b"abc"), found.end(), found.decoder(None)) == (b"abc", b"", None)
