"""The TLS of listeners, in memory: certificates, protocols, refusals."""

from __future__ import annotations

import os
import re
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from tests.support.tls import Files, Pair, shake, subject, text
from wsgi_proxy.config import TLS, Listen, ServerBlock
from wsgi_proxy.tls.server import CertificateNames, check_readable, listener_context


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.mark.parametrize("verify", ["off", "optional"], ids=["ssl", "pyOpenSSL"])
def test_each_name_gets_its_certificate(files: Files, verify: str) -> None:
    servers = [
        (files.block("default.test"), False),
        (files.block("one.test"), True),
        (files.block("*.wild.test", verify_client=verify, client_certificate=files.ca_path), False),
    ]
    context = listener_context(servers)
    client = files.client()
    for asked, shown in [("default.test", "default.test"), ("one.test", "one.test"), ("a.wild.test", "*.wild.test")]:
        pair = shake(context, client, asked)
        assert subject(pair) == shown
        assert pair.server.sni == asked
        pair.exchange()
    client.check_hostname = False
    for asked in ("unknown.test", "b.a.other.test", None):
        assert subject(shake(context, client, asked)) == "one.test"


def test_names_in_nginx_order() -> None:
    regex = re.compile(r"^w.*\.test$")
    blocks = {
        name: ServerBlock(names=(name,), name_patterns=((name, regex),) if name.startswith("~") else ())
        for name in ("_", "www.example.test", "*.example.test", "*.www.example.test", "www.example.*", "~^w", ".dot.test")
    }
    names = CertificateNames(list(blocks.values()), blocks["_"])
    found = {
        "www.example.test": "www.example.test",
        "WWW.Example.test.": "www.example.test",
        "a.example.test": "*.example.test",
        "b.a.example.test": "*.example.test",
        "a.www.example.test": "*.www.example.test",
        "www.example.net": "www.example.*",
        "www.test": "~^w",
        "dot.test": ".dot.test",
        "a.dot.test": ".dot.test",
        "example.test": "_",
        "": "_",
    }
    assert {asked: names.find(asked).names[0] for asked in found} == found


@pytest.mark.parametrize("verify", ["off", "on"], ids=["ssl", "pyOpenSSL"])
@pytest.mark.parametrize(
    ("protocols", "wanted", "expected"),
    [
        (("TLSv1.2", "TLSv1.3"), None, "TLSv1.3"),
        (("TLSv1.2",), None, "TLSv1.2"),
        (("TLSv1.3",), ssl.TLSVersion.TLSv1_2, None),
        (("TLSv1", "TLSv1.1", "TLSv1.2"), ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
    ],
)
def test_protocols(files: Files, verify: str, protocols: Any, wanted: Any, expected: str | None) -> None:
    context = listener_context([(files.block(protocols=protocols, verify_client=verify, client_certificate=files.ca_path), True)])
    client = files.client()
    if wanted:
        client.maximum_version = wanted
    if expected is None:
        with pytest.raises(ssl.SSLError):
            shake(context, client)
    else:
        pair = shake(context, client)
        assert pair.server.version() == pair.client.version() == expected
        assert pair.server.cipher()[0] == pair.client.cipher()[0]  # type: ignore[index]


@pytest.mark.parametrize("verify", ["off", "on"], ids=["ssl", "pyOpenSSL"])
def test_ciphers_and_alpn(files: Files, verify: str) -> None:
    block = files.block(
        protocols=("TLSv1.2",), ciphers="ECDHE-ECDSA-AES256-GCM-SHA384", verify_client=verify, client_certificate=files.ca_path
    )
    pair = shake(listener_context([(block, True)]), files.client(alpn=("h2", "http/1.1")))
    assert pair.server.cipher()[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"
    assert pair.server.selected_alpn_protocol() == pair.client.selected_alpn_protocol() == "http/1.1"
    http2 = ServerBlock(listens=(Listen(ssl=True, http2=True),), names=("localhost",), tls=block.tls)
    pair = shake(listener_context([(http2, True)]), files.client(alpn=("h2", "http/1.1")))
    assert pair.server.selected_alpn_protocol() == "h2"
    assert shake(listener_context([(http2, True)]), files.client()).server.selected_alpn_protocol() is None


@pytest.mark.parametrize("verify", ["off", "on"], ids=["ssl", "pyOpenSSL"])
@pytest.mark.parametrize(
    "curves", ["auto", "prime256v1", "X25519", "X25519:prime256v1:secp384r1", "?Nonsense:X25519:?prime256v1"]
)
def test_curves(files: Files, curves: str, verify: str) -> None:
    options = {"verify_client": verify, "client_certificate": files.ca_path}
    context = listener_context([(files.block(ecdh_curve=curves, **options), True)])
    shake(context, files.client()).exchange()
    client = files.client()
    client.set_ecdh_curve("secp521r1")
    if curves == "auto":
        shake(context, client)
    else:
        # No curve in common.
        with pytest.raises(ssl.SSLError):
            shake(context, client)


@pytest.mark.parametrize("verify", ["off", "on"], ids=["ssl", "pyOpenSSL"])
def test_unknown_curves_are_named(files: Files, verify: str) -> None:
    options = {"verify_client": verify, "client_certificate": files.ca_path}
    with pytest.raises(ValueError, match='"ssl_ecdh_curve X25519:foo" failed'):
        listener_context([(files.block(ecdh_curve="X25519:foo", **options), True)])
    # OpenSSL's error does not reach the next call of `ssl`.
    shake(listener_context([(files.block(), True)]), files.client()).exchange()


def test_commands_of_openssl(files: Files) -> None:
    commands = (("MinProtocol", "TLSv1.3"), ("Ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"))
    pair = shake(listener_context([(files.block(conf_command=commands), True)]), files.client())
    assert pair.server.cipher()[0] == "TLS_CHACHA20_POLY1305_SHA256"
    old = files.client()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake(listener_context([(files.block(conf_command=commands), True)]), old)
    for name, value in (("Foo", "x"), ("MinProtocol", "x")):
        with pytest.raises(ValueError, match=f'SSL_CONF_cmd."{name}", "x". failed'):
            listener_context([(files.block(conf_command=((name, value),)), True)])
    asking = files.block(conf_command=commands, verify_client="on", client_certificate=files.ca_path)
    with pytest.raises(ValueError, match="not supported for an address"):
        listener_context([(asking, True)])


def test_no_short_tags_unless_they_are_named(files: Files) -> None:
    def names(ciphers: str) -> list[str]:
        return [cipher["name"] for cipher in listener_context([(files.block(ciphers=ciphers), True)]).get_ciphers()]

    assert not [name for name in names(TLS().ciphers) if "CCM8" in name]
    assert [name for name in names("ECDHE-ECDSA-AES128-CCM8") if "CCM8" in name]


@pytest.mark.parametrize("verify", ["off", "on"], ids=["ssl", "pyOpenSSL"])
def test_reject_handshake(files: Files, verify: str) -> None:
    rejecting = ServerBlock(names=("_",), tls=TLS(reject_handshake=True))
    good = files.block("good.test", verify_client=verify, client_certificate=files.ca_path)
    context = listener_context([(rejecting, True), (good, False)])
    assert subject(shake(context, files.client(), "good.test")) == "good.test"
    with pytest.raises(ssl.SSLError):
        shake(context, files.client(), "bad.test")


def test_a_session_is_resumed_for_its_timeout(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL counts whole seconds, and resumes a session for two hours by default."""
    for seconds, resumed in ((1, False), (600, True)):
        context = listener_context([(files.block(session_timeout=seconds), True)])
        client = files.client()
        first = shake(context, client)
        first.exchange()
        time.sleep(2.1)
        second = Pair(context, client, session=first.client.session).handshake()
        assert second.server.session_reused is resumed


def test_each_handshake_gives_one_ticket(files: Files) -> None:
    assert listener_context([(files.block("localhost"), True)]).num_tickets == 1
    without = files.block("localhost", session_tickets=False, session_cache="off")
    assert listener_context([(without, True)]).num_tickets == 0


def test_two_kinds_of_key(files: Files) -> None:
    rsa = files.write("rsa", files.ca.issue_cert("localhost", key_type=trustme.KeyType.RSA))
    ecdsa = files.write("ecdsa", files.ca.issue_cert("localhost", key_type=trustme.KeyType.ECDSA))
    for verify in ("off", "on"):
        tls = TLS(
            certificates=tuple((text(certificate), text(key)) for certificate, key in (rsa, ecdsa)),
            protocols=("TLSv1.2",),
            verify_client=verify,
            client_certificate=files.ca_path,
        )
        context = listener_context([(ServerBlock(tls=tls), True)])
        for kind in ("ECDSA", "RSA"):
            client = files.client()
            client.set_ciphers(f"ECDHE-{kind}-AES128-GCM-SHA256")
            assert kind in shake(context, client).server.cipher()[0]


def test_certificates_by_name(files: Files) -> None:
    files.pair("a.test")
    files.pair("b.test")

    def path(suffix: str) -> Any:
        return lambda x: f"{files.folder}/{x.connection.sni}{suffix}"

    for verify in ("off", "on"):
        tls = TLS(certificates=((path(".crt"), path(".key")),), verify_client=verify, client_certificate=files.ca_path)
        context = listener_context([(ServerBlock(tls=tls), True)])
        for name in ("a.test", "b.test", "a.test"):
            assert subject(shake(context, files.client(), name)) == name
        without = ServerBlock(names=("b.test",), tls=TLS(verify_client=verify, client_certificate=files.ca_path))
        shared = listener_context([(ServerBlock(tls=tls), True), (without, False)])
        assert subject(shake(shared, files.client(), "b.test")) == "b.test", "the default server's certificates"
        for name in ("none.test", "a.test/", "/a.test", "x/a.test"):
            client = files.client()
            client.check_hostname = False
            with pytest.raises(ssl.SSLError):
                shake(context, client, name)
        before = shake(context, files.client(), "a.test").client.getpeercert(True)
        files.pair("a.test")
        os.utime(files.folder / "a.test.crt", ns=(1, 1))
        assert shake(context, files.client(), "a.test").client.getpeercert(True) != before, "a new file is read"


def encrypted(files: Files, password: bytes) -> tuple[str, str]:
    certificate, key = files.pair("localhost")
    loaded = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    form = serialization.BestAvailableEncryption(password)
    Path(key).write_bytes(loaded.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, form))
    return certificate, key


@pytest.mark.parametrize("verify", ["off", "on"], ids=["ssl", "pyOpenSSL"])
def test_passwords_of_keys(files: Files, verify: str) -> None:
    pair = encrypted(files, b"caf\xe9 2")
    passwords = files.folder / "passwords"
    # Any encoding, line ends of Windows, and empty lines.
    passwords.write_bytes(b"first\r\n\r\ncaf\xe9 2\r\nlast")
    options = {"verify_client": verify, "client_certificate": files.ca_path}
    shake(listener_context([(files.block(pair=pair, password_file=str(passwords), **options), True)]), files.client())
    with pytest.raises(ValueError, match="localhost.key"):
        listener_context([(files.block(pair=pair, **options), True)])


def test_passwords_in_a_named_pipe_are_read_once(files: Files) -> None:
    """The writer writes them once; the check and every worker need them (ngx_http_ssl_module, ssl_password_file)."""
    pair = encrypted(files, b"secret")
    pipe = files.folder / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_bytes, args=(b"wrong\nsecret\n",), daemon=True).start()
    served = threading.Event()

    def serve() -> None:
        check_readable(str(pipe))
        for _ in range(2):
            shake(listener_context([(files.block(pair=pair, password_file=str(pipe)), True)]), files.client())
        served.set()

    threading.Thread(target=serve, daemon=True).start()
    assert served.wait(30)


@pytest.mark.parametrize("verify", ["off", "on"], ids=["ssl", "pyOpenSSL"])
def test_faults_name_the_file(files: Files, verify: str) -> None:
    certificate, key = files.pair("a.test")
    _, other = files.pair("b.test")
    options = {"verify_client": verify, "client_certificate": files.ca_path}
    with pytest.raises(ValueError, match=r'key ".*b.test.key" does not belong to the certificate ".*a.test.crt"'):
        listener_context([(files.block(pair=(certificate, other), **options), True)])
    with pytest.raises(FileNotFoundError, match="missing"):
        listener_context([(files.block(pair=(certificate, str(files.folder / "missing")), **options), True)])
    broken = files.folder / "broken.pem"
    broken.write_text("no certificate")
    with pytest.raises(ValueError, match="broken.pem"):
        listener_context([(files.block(pair=(str(broken), key), **options), True)])


def test_unknown_ciphers_are_named(files: Files) -> None:
    with pytest.raises(ValueError, match='"ssl_ciphers NOTHING" failed'):
        listener_context([(files.block(ciphers="NOTHING"), True)])
    with pytest.raises(ValueError, match='"ssl_ecdh_curve nocurve" failed'):
        listener_context([(files.block(ecdh_curve="nocurve"), True)])
    with pytest.raises(ValueError, match='"ssl_ciphers NOTHING" failed'):
        listener_context([(files.block(ciphers="NOTHING", verify_client="on", client_certificate=files.ca_path), True)])


@pytest.mark.parametrize("verify", ["off", "on"], ids=["ssl", "pyOpenSSL"])
def test_a_client_that_leaves_or_talks_nonsense(files: Files, verify: str) -> None:
    context = listener_context([(files.block(verify_client=verify, client_certificate=files.ca_path), True)])
    pair = Pair(context, files.client())
    pair.to_server.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    with pytest.raises(ssl.SSLError):
        pair.server.do_handshake()
    pair = Pair(context, files.client())
    pair.to_server.write_eof()
    with pytest.raises((ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        pair.server.do_handshake()
    pair = shake(context, files.client())
    pair.exchange()
    with pytest.raises(ssl.SSLWantReadError):
        pair.server.read(10)
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.unwrap()
    assert pair.server.read(10) == b""
