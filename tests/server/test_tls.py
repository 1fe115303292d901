"""tls: the certificate for each client and address. The handshakes are real."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme

from wsgi_proxy.config import TLS, Config, Listen, ServerBlock, SourceLine
from wsgi_proxy.errors import ConfigError
from wsgi_proxy.server.tls import contexts


def template(text: str) -> Any:
    def give(_: Any) -> str:
        return text

    give.constant = text  # type: ignore[attr-defined]
    return give


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server(authority: trustme.CA, folder: Path, name: str, *listens: Listen, **more: Any) -> ServerBlock:
    path = folder / f"{name}.pem"
    authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(str(path))
    pair = (template(str(path)), template(str(path)))
    return ServerBlock(listens=listens, names=(name,), tls=TLS(certificates=(pair,)), place=SourceLine("x.conf", 7), **more)


def presented(context: ssl.SSLContext, authority: trustme.CA, name: str) -> str:
    """The name in the certificate that a client asking for `name` gets."""
    ours, theirs = socket.socketpair()
    box: list[ssl.SSLSocket] = []
    thread = threading.Thread(target=lambda: box.append(context.wrap_socket(ours, server_side=True)))
    thread.start()
    client = ssl.create_default_context()
    client.check_hostname = False
    authority.configure_trust(client)
    with client.wrap_socket(theirs, server_hostname=name) as sock:
        certificate: Any = sock.getpeercert()
        thread.join(30)
        box[0].close()
    return str(dict(certificate["subjectAltName"])["DNS"])


def test_each_address_has_its_servers(authority: trustme.CA, tmp_path: Path) -> None:
    one, two = Listen(port=443, ssl=True), Listen(port=444, ssl=True)
    a = server(authority, tmp_path, "a.test", one, two)
    b = server(authority, tmp_path, "b.test", one, Listen(port=80))
    found = contexts(Config(servers=(a, b)))
    assert set(found) == {("0.0.0.0", 443), ("0.0.0.0", 444)}
    assert presented(found["0.0.0.0", 443], authority, "b.test") == "b.test"
    assert presented(found["0.0.0.0", 443], authority, "other.test") == "a.test"
    assert presented(found["0.0.0.0", 444], authority, "b.test") == "a.test"


def test_default_server_and_covered_addresses(authority: trustme.CA, tmp_path: Path) -> None:
    a = server(authority, tmp_path, "a.test", Listen(port=443, ssl=True))
    b = server(authority, tmp_path, "b.test", Listen(host="127.0.0.1", port=443, ssl=True, default_server=True))
    found = contexts(Config(servers=(a, b)))
    assert presented(found["0.0.0.0", 443], authority, "x.test") == "b.test"


def test_faults_name_the_server_block(authority: trustme.CA, tmp_path: Path) -> None:
    block = server(authority, tmp_path, "a.test", Listen(port=443, ssl=True))
    (tmp_path / "a.test.pem").unlink()
    with pytest.raises(ConfigError, match="x.conf:7: .*a.test.pem"):
        contexts(Config(servers=(block,)))
