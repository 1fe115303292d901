"""`wsgi-proxy cert`: files that TLS listeners accept and other users cannot read."""

from __future__ import annotations

import ipaddress
import os
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from tests.support import fetch, free_port, run_proxy
from tests.support.tls import Pair, text
from wsgi_proxy.cli.cert import main
from wsgi_proxy.config import TLS, ServerBlock
from wsgi_proxy.tls.check import validity
from wsgi_proxy.tls.server import listener_context


def made(folder: Path, *names: str, days: int = 365) -> tuple[str, str]:
    assert main(["--self-signed", *names, "--out", str(folder), "--days", str(days)]) == 0
    stem = names[0].replace("*", "_").replace(":", "_")
    return str(folder / f"{stem}.crt"), str(folder / f"{stem}.key")


def test_every_name_is_good_and_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificate, key = made(tmp_path, "localhost", "*.a.test", "127.0.0.1", "::1", "bücher.test")
    assert capsys.readouterr().out == f"ssl_certificate     {certificate};\nssl_certificate_key {key};\n"
    server = listener_context([(ServerBlock(tls=TLS(certificates=((text(certificate), text(key)),))), True)])
    client = ssl.create_default_context(cafile=certificate)
    for name in ("localhost", "x.a.test", "127.0.0.1", "::1", "xn--bcher-kva.test"):
        Pair(server, client, name).handshake().exchange()
    for name in ("a.test", "b.test", "127.0.0.2"):
        with pytest.raises(ssl.SSLCertVerificationError):
            Pair(server, client, name).handshake()


def test_what_is_in_it(tmp_path: Path) -> None:
    certificate, key = made(tmp_path, "127.0.0.1", days=30)
    loaded = x509.load_pem_x509_certificate(Path(certificate).read_bytes())
    assert loaded.subject == loaded.issuer
    assert not loaded.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("127.0.0.1")]
    begin, end = validity(ssl.PEM_cert_to_DER_cert(Path(certificate).read_text()))
    assert (end - begin).days == 30
    assert os.stat(key).st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in Path(certificate).read_bytes()


def test_nothing_is_overwritten_by_accident(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificate, key = made(tmp_path, "a.test")
    before = Path(key).read_bytes()
    assert main(["--self-signed", "a.test", "--out", str(tmp_path)]) == 1
    assert "File exists" in capsys.readouterr().err
    assert Path(key).read_bytes() == before
    assert main(["--self-signed", "a.test", "--out", str(tmp_path), "--force"]) == 0
    assert Path(key).read_bytes() != before
    assert main(["--self-signed", "a.test", "--out", str(tmp_path / "none")]) == 1


@pytest.mark.parametrize(
    "words", [["a b"], ["http://a.test"], ["a@b"], ["a..b"], [""], ["a.test", "--days", "0"], ["a.test", "--days", "400"]]
)
def test_what_is_no_name(tmp_path: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--self-signed", "--out", str(tmp_path), *words])
    assert not list(tmp_path.iterdir())


def test_a_listener_with_it(tmp_path: Path) -> None:
    certificate, key = made(tmp_path, "localhost")
    port = free_port()
    conf = f"""events {{}} http {{ server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {certificate};
        ssl_certificate_key {key}; return 200 "$scheme $ssl_protocol $ssl_server_name"; }} }}"""
    with run_proxy(conf, tmp_path):
        response = fetch(port, tls=ssl.create_default_context(cafile=certificate))
        assert response.text == "https TLSv1.3 localhost"
