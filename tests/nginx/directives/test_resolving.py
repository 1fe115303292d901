"""Servers with unknown names."""

from __future__ import annotations

import pytest

from tests.support.directive import http
from wsgi_proxy.nginx.directives.resolving import unresolved_servers
from wsgi_proxy.upstream import resolver as resolve


def test_each_unknown_name_once_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def nobody(self: resolve.Resolver, target: resolve.Target) -> tuple[list[resolve.Address], float]:
        asked.append(target.host)
        if target.host.startswith("no"):
            raise OSError
        return [], 0.0

    monkeypatch.setattr(resolve.Resolver, "addresses", nobody)
    config = http(
        "upstream u { server no.a:1; server no.a:2; server yes.b; server no.later resolve; server unix:/x; } "
        "server { location / { proxy_pass http://no.c:81/; } }"
    )
    assert [fault.message for fault in unresolved_servers(config)] == [
        'host not found in upstream "no.a:1"',
        'host not found in upstream "no.a:2"',
        'host not found in upstream "no.c"',
    ]
    assert asked.count("no.a") == 1
