"""The messages of `-t` about certificates."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from tests.support.tls import DAY, NOW, Files
from wsgi_proxy.config import Config, If, Listen, Location, ProxyPass, ProxySettings, ServerBlock, SourceLine, UpstreamTLS
from wsgi_proxy.tls import native
from wsgi_proxy.tls.check import faults_of, validity, warnings_of

PLACE = SourceLine("nginx.conf", 7)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def config(*servers: ServerBlock) -> Config:
    return Config(servers=tuple(replace(server, place=PLACE) for server in servers))


def messages(*servers: ServerBlock) -> list[str]:
    return [str(fault) for fault in faults_of(config(*servers))]


def test_good_ones_are_not_mentioned(files: Files) -> None:
    good = files.block("a.test", verify_client="on", client_certificate=files.ca_path, crl=files.crl())
    assert messages(good, files.block("b.test"), ServerBlock()) == []
    assert warnings_of(config(good)) == []


def test_every_fault_has_its_file_and_line(files: Files) -> None:
    certificate, key = files.pair("a.test")
    _, other = files.pair("b.test")
    nonsense = files.folder / "nonsense.pem"
    nonsense.write_text("nonsense")
    verify = {"verify_client": "on", "client_certificate": files.ca_path}
    found = messages(
        files.block(pair=(certificate, other)),
        files.block(pair=("/missing.crt", key)),
        files.block(pair=(str(nonsense), key)),
        files.block(pair=(certificate, key), crl=str(nonsense), **verify),
        files.block(pair=(certificate, key), crl="/missing.crl", **verify),
        files.block(pair=(certificate, key), verify_client="on", client_certificate="/missing.ca"),
        files.block(pair=(certificate, key), verify_client="on", client_certificate=str(nonsense)),
        files.block(pair=(certificate, key), password_file="/missing.txt"),
        files.block(pair=(certificate, key), dhparam=str(nonsense)),
    )
    assert all(line.startswith("nginx.conf:7: ") for line in found)
    expected = ["b.test.key", "/missing.crt", "nonsense.pem", "nonsense.pem", "/missing.crl", "/missing.ca", "nonsense.pem"]
    for line, part in zip(found, [*expected, "/missing.txt", "nonsense.pem"], strict=True):
        assert part in line, line
    assert found[1] == 'nginx.conf:7: open() "/missing.crt" failed (2: No such file or directory)'


def test_upstreams_are_looked_at_in_every_location(files: Files) -> None:
    def place(**tls: object) -> Location:
        pass_ = ProxyPass("https://a", scheme="https", place=PLACE)
        return Location(proxy=ProxySettings(pass_=pass_, tls=UpstreamTLS(**tls)))  # type: ignore[arg-type]

    server = ServerBlock(
        listens=(Listen(),),
        locations=(
            replace(place(verify=True), locations=(place(trusted_certificate="/missing.ca"),)),
            Location(script=(If(lambda x: True, (), place(certificate="/missing.crt")),)),
        ),
        named={"@a": place(ciphers="NOTHING")},
    )
    assert messages(server) == [
        'nginx.conf:7: no "proxy_ssl_trusted_certificate" for "proxy_ssl_verify"',
        'nginx.conf:7: open() "/missing.ca" failed (2: No such file or directory)',
        'nginx.conf:7: open() "/missing.crt" failed (2: No such file or directory)',
        'nginx.conf:7: "proxy_ssl_ciphers NOTHING" failed: No cipher can be selected.',
    ]


def test_dates_are_warnings(files: Files) -> None:
    expired = files.pair("expired.test", not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    early = files.pair("early.test", not_before=NOW + DAY, not_after=NOW + 9 * DAY)
    servers = [files.block(pair=pair) for pair in (expired, early, expired, files.pair("good.test"))]
    assert messages(*servers) == []
    found = warnings_of(config(*servers))
    assert len(found) == 2
    assert f'"{expired[0]}" expired on ' in found[0] and found[0].endswith("in nginx.conf:7")
    assert f'"{early[0]}" is not valid before ' in found[1]
    (files.folder / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    broken = (f"{files.folder}/broken.pem",) * 2
    assert warnings_of(config(files.block(pair=("/missing", "/missing")), files.block(pair=broken))) == []


def test_one_certificate_of_two_servers_is_warned_of_once(files: Files) -> None:
    pair = files.pair("expired.test", not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    servers = replace(config(files.block(pair=pair)).servers[0], place=SourceLine("nginx.conf", 9)), files.block(pair=pair)
    (found,) = warnings_of(Config(servers=(servers[0], replace(servers[1], place=PLACE))))
    assert found.endswith("in nginx.conf:9")


def test_validity_reads_both_kinds_of_time(files: Files) -> None:
    for first, last in [(NOW - DAY, NOW + DAY), (NOW - DAY, NOW + 40 * 365 * DAY)]:
        path, _ = files.pair("x.test", not_before=first, not_after=last)
        loaded = x509.load_pem_x509_certificate(Path(path).read_bytes())
        from cryptography.hazmat.primitives.serialization import Encoding

        assert validity(loaded.public_bytes(Encoding.DER)) == (loaded.not_valid_before_utc, loaded.not_valid_after_utc)
    with pytest.raises((ValueError, IndexError)):
        validity(b"\x30\x03\x02\x01\x01")


@pytest.mark.skipif(hasattr(ssl.SSLContext, "set_groups"), reason="this Python takes a list")
def test_what_is_only_done_in_part(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    assert warnings_of(config(files.block(ecdh_curve="X25519:prime256v1"))) == []
    monkeypatch.setattr(native, "available", lambda: False)
    found = warnings_of(config(files.block(ecdh_curve="X25519:prime256v1"), files.block(ecdh_curve="X25519")))
    assert len(found) == 1 and "ssl_ecdh_curve" in found[0]
