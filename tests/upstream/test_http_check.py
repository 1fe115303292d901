"""The HTTP check: its request, and the responses that pass."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support import Recorder, reply
from wsgi_proxy.balance.peers import Address, Peer
from wsgi_proxy.config import HealthCheck, Match, ProxySettings, Server, UpstreamTLS
from wsgi_proxy.errors import CheckFailed
from wsgi_proxy.upstream.http_check import HTTPCheck


def peer(address: Address) -> Peer:
    return Peer(Server("s"), address, str(address), "backend")


class Constant:
    def __init__(self, text: str | None) -> None:
        self.constant = text

    def __call__(self, x: object) -> str:
        raise AssertionError("a check has no request to take variables from")


def test_the_request_has_the_uri_the_host_and_constant_headers() -> None:
    headers = (("Host", Constant("www.test")), ("X-Check", Constant("1")), ("X-Real-IP", Constant(None)), ("X-No", Constant("")))
    settings = ProxySettings(set_header=headers)
    with Recorder() as server:
        HTTPCheck(HealthCheck(uri="/up?x=1"))(peer(("127.0.0.1", server.port)))
        HTTPCheck(HealthCheck(), host="echo:80", settings=settings)(peer(("127.0.0.1", server.port)))
    first, second = server.requests
    assert (first.method, first.target, first.version) == ("GET", "/up?x=1", "HTTP/1.1")
    assert first.headers == [("Host", "backend"), ("Connection", "close")]
    assert second.headers == [("Host", "www.test"), ("Connection", "close"), ("X-Check", "1")]


@pytest.mark.parametrize(("status", "good"), [(200, True), (204, True), (301, True), (399, True), (400, False), (500, False)])
def test_without_a_match_2xx_and_3xx_are_good(status: int, good: bool) -> None:
    with Recorder(lambda request, wire: reply(status=status)) as server:
        check, where = HTTPCheck(), peer(("127.0.0.1", server.port))
        if good:
            check(where)
        else:
            with pytest.raises(CheckFailed, match=f"status {status}"):
                check(where)


@pytest.mark.parametrize(
    ("match", "reason"),
    [
        (Match("m", status=lambda status: status == 503), "status 200 does not match"),
        (Match("m", headers=(lambda pairs: True, lambda pairs: ("X-Up", "2") in pairs)), "header does not match"),
        (Match("m", body=lambda body: body == b"down"), "body does not match"),
        (Match("m", lambda status: status == 200, (lambda pairs: ("X-Up", "1") in pairs,), lambda body: b"ell" in body), ""),
    ],
)
def test_a_match_block_is_wholly_true_or_the_check_failed(match: Match, reason: str) -> None:
    with Recorder(lambda request, wire: reply(b"hello", headers=[("X-Up", "1")])) as server:
        check = HTTPCheck(match=match)
        if not reason:
            check(peer(("127.0.0.1", server.port)))
        else:
            with pytest.raises(CheckFailed, match=reason):
                check(peer(("127.0.0.1", server.port)))


def test_over_a_unix_socket(tmp_path: Path) -> None:
    with Recorder(path=tmp_path / "s") as server:
        HTTPCheck()(peer(str(tmp_path / "s")))
    assert len(server.requests) == 1


def test_over_tls_with_and_without_verification(tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("backend").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    def check(**tls: Any) -> None:
        settings = ProxySettings(tls=UpstreamTLS(**tls), read_timeout=5.0)
        HTTPCheck(scheme="https", settings=settings)(peer(("127.0.0.1", server.port)))

    with Recorder(tls=context) as server:
        check()
        check(verify=True, trusted_certificate=str(tmp_path / "ca.pem"))
        trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
        with pytest.raises(CheckFailed, match="CERTIFICATE_VERIFY_FAILED"):
            check(verify=True, trusted_certificate=str(tmp_path / "other.pem"))


def test_a_connection_serves_for_its_keepalive_time() -> None:
    with Recorder() as server:
        where = peer(("127.0.0.1", server.port))
        kept, brief = HTTPCheck(HealthCheck(keepalive_time=60.0)), HTTPCheck(HealthCheck(keepalive_time=0.001))
        for _ in range(3):
            kept(where)
        assert [request.connection for request in server.requests] == [1, 1, 1]
        assert server.requests[0].get("Connection") is None
        for _ in range(2):
            brief(where)
            time.sleep(0.002)
        assert [request.connection for request in server.requests[3:]] == [2, 3]
        # The server cuts it meanwhile: that is no failure.
        server.stop()
        server.start()
        kept(where)
        server.stop()
        with pytest.raises(CheckFailed):
            kept(where)
        brief.close()
        assert not kept._kept and not brief._kept
