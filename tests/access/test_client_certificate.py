"""ssl_verify_client: handshakes in memory and the guard's decisions; the same clients with real nginx."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme

from tests.support import fetch, free_port, run_nginx
from tests.support.limits import exchange
from tests.support.tls import DAY, NOW, Files, Pair, shake
from wsgi_proxy.access.client_certificate import check, verdict
from wsgi_proxy.config import ServerBlock
from wsgi_proxy.errors import Refusal
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.tls.server import listener_context


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def clients(files: Files) -> dict[str, tuple[str, str] | None]:
    """A certificate of each kind a client may come with."""
    stranger = trustme.CA()
    return {
        "none": None,
        "good": files.pair("good"),
        "stranger": files.pair("stranger", stranger),
        "expired": files.pair("expired", not_before=NOW - 9 * DAY, not_after=NOW - DAY),
        "revoked": files.pair("revoked"),
    }


def request(pair: Pair, server: ServerBlock, host: str = "localhost") -> Exchange:
    return exchange(connection=SimpleNamespace(tls=pair.server), server=server, host=host)


def outcome(files: Files, mode: str, certificate: tuple[str, str] | None, **settings: Any) -> tuple[int, str]:
    """(status of the refusal or 200, $ssl_client_verify) for a client with this certificate."""
    server = files.block("localhost", verify_client=mode, client_certificate=files.ca_path, **settings)
    pair = shake(listener_context([(server, True)]), files.client(certificate))
    pair.exchange()
    assert (pair.server.getpeercert(True) is None) == (certificate is None)
    try:
        check(request(pair, server))
    except Refusal as refusal:
        return refusal.status, verdict(pair.server)
    return 200, verdict(pair.server)


@pytest.mark.parametrize("mode", ["on", "optional", "optional_no_ca"])
def test_modes_as_nginx(files: Files, tmp_path: Path, mode: str) -> None:
    kinds = clients(files)
    crl = files.crl(kinds["revoked"][0])  # type: ignore[index]
    server_pair = files.pair("localhost")
    port = free_port()
    conf = f"""events {{}} http {{ access_log off; server {{ listen 127.0.0.1:{port} ssl;
        ssl_certificate {server_pair[0]}; ssl_certificate_key {server_pair[1]};
        ssl_verify_client {mode}; ssl_client_certificate {files.ca_path}; ssl_crl {crl};
        location / {{ return 200 $ssl_client_verify; }} }} }}"""
    ours = {kind: outcome(files, mode, pair, crl=crl) for kind, pair in kinds.items()}
    theirs = {}
    with run_nginx(conf, tmp_path):
        for kind, pair in kinds.items():
            response = fetch(port, tls=files.client(pair))
            theirs[kind] = (response.status, response.text)
    for kind, (status, word) in ours.items():
        if status == 200:
            assert theirs[kind] == (200, word), kind
        else:
            title = {495: "The SSL certificate error", 496: "No required SSL certificate was sent"}[status]
            assert theirs[kind][0] == 400 and title in theirs[kind][1], kind
    assert ours["good"] == (200, "SUCCESS")
    assert ours["stranger"][1].startswith("FAILED:")
    assert ours["stranger"][0] == (200 if mode == "optional_no_ca" else 495)
    assert ours["expired"] == (495, "FAILED:certificate has expired")
    assert ours["revoked"] == (495, "FAILED:certificate revoked")
    assert ours["none"] == (496 if mode == "on" else 200, "NONE")


def test_the_log_says_why(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    kinds = clients(files)
    with caplog.at_level(logging.INFO, "wsgi_proxy"):
        for kind in ("expired", "none"):
            outcome(files, "on", kinds[kind])
    assert [record.getMessage().split(", client: ")[0] for record in caplog.records] == [
        "client SSL certificate verify error: (10:certificate has expired)",
        "client sent no required SSL certificate",
    ]


def test_depth_and_trusted_certificates(files: Files) -> None:
    middle = files.ca.create_child_ca()
    client = files.write("deep", middle.issue_cert("deep"))
    assert outcome(files, "on", client, verify_depth=2) == (200, "SUCCESS")
    assert outcome(files, "on", client, verify_depth=0)[1].startswith("FAILED:")
    other = trustme.CA()
    trusted = files.folder / "trusted.pem"
    other.cert_pem.write_to_path(str(trusted))
    assert outcome(files, "on", files.pair("trusted", other), trusted_certificate=str(trusted)) == (200, "SUCCESS")


def test_a_name_cannot_be_borrowed(files: Files) -> None:
    free = files.block("free.test")
    closed = files.block("closed.test", verify_client="on", client_certificate=files.ca_path)
    context = listener_context([(free, True), (closed, False)])
    pair = shake(context, files.client(files.pair("good")), "free.test")
    assert pair.server.getpeercert(True) is None, "nobody asked for it"
    check(request(pair, free, "free.test"))
    with pytest.raises(Refusal) as refusal:
        check(request(pair, closed, "closed.test"))
    assert refusal.value.status == 421
    pair = shake(context, files.client(files.pair("good")), "closed.test")
    check(request(pair, closed, "closed.test"))
    client = files.client()
    client.check_hostname = False
    with pytest.raises(Refusal) as refusal:
        check(request(shake(context, client, None), closed, "closed.test"))
    assert refusal.value.status == 496


def test_plain_requests(files: Files) -> None:
    server = files.block("localhost", verify_client="on", client_certificate=files.ca_path)
    check(exchange(server=server, connection=None))
    check(exchange(server=server, connection=SimpleNamespace(tls=None)))
    with pytest.raises(Refusal) as refusal:
        check(exchange(server=server, connection=SimpleNamespace(tls=None, plain_on_tls=True)))
    assert refusal.value.status == 497


def test_http2_requests_are_looked_at_too(files: Files) -> None:
    server = files.block("localhost", verify_client="on", client_certificate=files.ca_path)
    context = listener_context([(server, True)])
    for pair, expected in [(None, 496), (files.pair("good"), 0), (files.pair("stranger", trustme.CA()), 495)]:
        x = exchange(server=server, host="localhost")
        x.connection = SimpleNamespace(tls=shake(context, files.client(pair)).server)
        try:
            check(x)
        except Refusal as refusal:
            assert refusal.status == expected
        else:
            assert not expected


def test_tls_that_somebody_else_took_off_lets_nobody_in(files: Files) -> None:
    for mode, expected in [("on", 496), ("optional", 0), ("off", 0)]:
        server = files.block("localhost", verify_client=mode, client_certificate=files.ca_path)
        x = exchange(server=server, host="localhost", scheme="https")
        try:
            check(x)
        except Refusal as refusal:
            assert refusal.status == expected
        else:
            assert not expected
