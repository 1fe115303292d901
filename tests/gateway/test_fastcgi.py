"""The bytes of FastCGI requests."""

from __future__ import annotations

import io

import pytest

from tests.support.gateway import _fastcgi, head
from wsgi_proxy.config import GatewaySettings
from wsgi_proxy.errors import ProxyError
from wsgi_proxy.gateway import FastCGI


def test_a_request_with_variables_of_every_size() -> None:
    fastcgi = FastCGI(GatewaySettings("fastcgi"))
    params = [("A", ""), ("\xe9" * 127, "x" * 127), ("N" * 128, "y" * 128), ("L", "z" * 40000)]
    asked = _fastcgi(io.BytesIO(head(fastcgi, params, None) + fastcgi.body(b"abc") + fastcgi.end()))
    assert asked is not None and not asked.keep
    assert asked.params == [(name.encode("latin-1"), value.encode("latin-1")) for name, value in params]
    assert asked.body == b"abc"
    assert [kind for kind, _, _ in asked.records] == [1, 4, 4, 5, 5]
    assert all((size + padding) % 8 == 0 for _, size, padding in asked.records)


def test_a_kept_connection_is_asked_for() -> None:
    fastcgi = FastCGI(GatewaySettings("fastcgi", keep_conn=True))
    asked = _fastcgi(io.BytesIO(head(fastcgi, [], None) + fastcgi.body(b"") + fastcgi.end()))
    assert asked is not None and asked.keep and fastcgi.keeps and fastcgi.streams and not fastcgi.status_line
    assert not asked.params and not asked.body


def test_variables_that_do_not_fit_a_record() -> None:
    fastcgi = FastCGI(GatewaySettings("fastcgi"))
    head(fastcgi, [("A", "x" * (65535 - 6))], None)
    with pytest.raises(ProxyError, match="fastcgi request record is too big: 65536"):
        head(fastcgi, [("A", "x" * (65535 - 5))], None)
