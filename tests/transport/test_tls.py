"""TLS to upstreams; real sockets and certificates.

The file runs a second time on gevent's loop, where streams work differently.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.support.recorder import Recorder
from tests.support.wire import fetch, opened, route, run_on_the_loop, upload_of
from wsgi_proxy.config import UpstreamTLS
from wsgi_proxy.errors import ConnectFailed, UpstreamTimeout
from wsgi_proxy.proxy.request_body import Upload
from wsgi_proxy.transport.session import Transport


@pytest.fixture
def transport() -> Iterator[Transport]:
    yield from opened()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_server(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def test_tls(transport: Transport, authority: trustme.CA, tmp_path: Path) -> None:
    roots = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(roots))
    with Recorder(tls=tls_server(authority, "a.example")) as upstream:
        sure = UpstreamTLS(verify=True, trusted_certificate=str(roots), verify_depth=1)
        where = route(upstream, tls=sure, server_name="a.example")
        assert fetch(transport, where) == b"ok" == fetch(transport, where)
        assert upstream.connections == 1
        data = os.urandom(500_000)
        assert fetch(transport, where, "POST", Upload(len(data), data=data)) == b"ok"
        assert upstream.requests[-1].body == data
        upload = upload_of("file", data, tmp_path)
        assert fetch(transport, where, "POST", upload) == b"ok" and upstream.requests[-1].body == data
        upload.close()
        with pytest.raises(ConnectFailed, match="SSL_do_handshake") as caught:
            fetch(transport, route(upstream, tls=sure, server_name="b.example"))
        assert not caught.value.sent
        with pytest.raises(ConnectFailed, match="SSL"):
            fetch(transport, route(upstream, tls=UpstreamTLS(verify=True), server_name="a.example"))
        assert fetch(transport, route(upstream, tls=UpstreamTLS(), server_name="b.example")) == b"ok"


def test_tls_to_a_server_that_has_none(transport: Transport) -> None:
    with Recorder(on_connect=lambda wire: wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as upstream:
        with pytest.raises(ConnectFailed, match="SSL"):
            fetch(transport, route(upstream, tls=UpstreamTLS(), server_name="a", connect_timeout=5.0))


def test_tls_handshake_in_time(transport: Transport) -> None:
    release = threading.Event()
    with Recorder(on_connect=lambda wire: release.wait(30) and None) as upstream:
        with pytest.raises(UpstreamTimeout, match="SSL handshaking"):
            fetch(transport, route(upstream, tls=UpstreamTLS(), server_name="a", connect_timeout=0.1))
        release.set()


def test_all_of_it_on_the_loop() -> None:
    run_on_the_loop(__file__)
