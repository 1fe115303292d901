"""TLS through the whole proxy: each listener with its certificates, client certificates, plain HTTP, reload, HSTS."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from signal import SIGHUP
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from tests.support import (
    ROOT,
    Address,
    Client,
    Recorder,
    Running,
    connect,
    fetch,
    free_port,
    request_bytes,
    run_nginx,
    run_proxy,
    wait_until,
)
from tests.support.tls import DAY, NOW, Files


def peer_certificate(port: Address, client: ssl.SSLContext, name: str) -> bytes:
    with Client(port, tls=client, server_hostname=name) as connection:
        found = connection.sock.getpeercert(True)  # type: ignore[attr-defined]
        assert isinstance(found, bytes)
        return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("certificates"))


Pairs = dict[str, tuple[str, str]]


@pytest.fixture(scope="module")
def pairs(files: Files) -> Pairs:
    return {name: files.pair(name) for name in ("a.test", "b.test", "closed.test", "alice", "revoked")} | {
        "expired": files.pair("expired", not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    }


def configuration(files: Files, pairs: Pairs, plain: int, secure: int, asking: int) -> str:
    def certificate(name: str) -> str:
        return f"ssl_certificate {pairs[name][0]}; ssl_certificate_key {pairs[name][1]};"

    crl = files.crl(pairs["revoked"][0])
    verify = f"ssl_verify_client on; ssl_client_certificate {files.ca_path}; ssl_crl {crl};"
    return f"""
worker_processes 2;
error_log stderr info;
events {{ }}
http {{
    access_log off;
    server {{
        listen 127.0.0.1:{plain};
        server_name a.test;
        return 301 https://$host$request_uri;
    }}
    server {{
        listen 127.0.0.1:{secure} ssl;
        server_name a.test;
        {certificate("a.test")}
        add_header Strict-Transport-Security "max-age=63072000" always;
        return 200 "a $scheme $https $ssl_protocol $ssl_server_name $server_port";
    }}
    server {{
        listen 127.0.0.1:{secure} ssl;
        server_name b.test;
        {certificate("b.test")}
        error_page 497 https://$host:$server_port$request_uri;
        return 200 "b $ssl_session_reused";
    }}
    server {{
        listen 127.0.0.1:{asking} ssl;
        server_name a.test;
        {certificate("a.test")}
        return 200 "open $ssl_client_verify";
    }}
    server {{
        listen 127.0.0.1:{asking} ssl;
        server_name closed.test;
        {certificate("closed.test")}
        {verify}
        return 200 "$ssl_client_verify $ssl_client_s_dn $ssl_client_serial $ssl_client_fingerprint";
    }}
}}
"""


Servers = list[tuple[Running, int, int, int]]


@pytest.fixture(scope="module")
def servers(files: Files, pairs: Pairs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """(server, plain, TLS, TLS with client certificates) of nginx and of this proxy, with the same configuration."""
    folder = tmp_path_factory.mktemp("servers")
    ports = [tuple(free_port() for _ in range(3)) for _ in range(2)]
    with run_nginx(configuration(files, pairs, *ports[0]), folder) as nginx:
        with run_proxy(configuration(files, pairs, *ports[1]), folder) as ours:
            yield [(nginx, *ports[0]), (ours, *ports[1])]


def test_plain_and_tls_side_by_side(servers: Servers, files: Files) -> None:
    for _, plain, secure, _ in servers:
        response = fetch(plain, "/x?y", host="a.test")
        assert (response.status, response.get("Location")) == (301, "https://a.test/x?y")
        with Client(secure, tls=files.client(), server_hostname="a.test") as client:
            response = client.exchange(request_bytes(host="a.test"))
            assert response.text == f"a https on TLSv1.3 a.test {secure}"
            assert response.get("Strict-Transport-Security") == "max-age=63072000"
            assert client.exchange(request_bytes(host="a.test")).status == 200


def test_certificates_by_name(servers: Servers, files: Files, pairs: Pairs) -> None:
    for _, _, secure, _ in servers:
        for name in ("a.test", "b.test"):
            wanted = ssl.PEM_cert_to_DER_cert(Path(pairs[name][0]).read_text())
            assert peer_certificate(secure, files.client(), name) == wanted


@pytest.mark.parametrize("who", ["nobody", "alice", "revoked", "expired"])
def test_client_certificates_as_nginx(servers: Servers, files: Files, pairs: Pairs, who: str) -> None:
    responses = []
    for _, _, _, asking in servers:
        with Client(asking, tls=files.client(pairs.get(who)), server_hostname="closed.test") as client:
            response = client.exchange(request_bytes(host="closed.test"))
            title = response.text.partition("<title>")[2].partition("</title>")[0]
            responses.append((response.status, title or response.text))
    assert responses[0] == responses[1]
    expected = {"nobody": "No required SSL certificate was sent", "alice": "SUCCESS "}
    assert expected.get(who, "The SSL certificate error") in responses[1][1]


def test_a_name_cannot_be_borrowed(servers: Servers, files: Files) -> None:
    statuses = []
    for _, _, _, asking in servers:
        with Client(asking, tls=files.client(), server_hostname="a.test") as client:
            statuses.append([client.exchange(request_bytes(host=host)).status for host in ("a.test", "closed.test")])
    assert statuses == [[200, 421]] * 2


def test_http2_asks_for_the_same(files: Files, pairs: Pairs, tmp_path: Path) -> None:
    port = free_port()
    conf = f"""events {{}} http {{ server {{ listen 127.0.0.1:{port} ssl; http2 on; server_name closed.test;
        ssl_certificate {pairs["closed.test"][0]}; ssl_certificate_key {pairs["closed.test"][1]};
        ssl_verify_client on; ssl_client_certificate {files.ca_path};
        return 200 "$server_protocol $ssl_protocol $ssl_server_name $ssl_client_verify"; }} }}"""
    with run_proxy(conf, tmp_path):
        responses = []
        for who in ("alice", None):
            command = ["curl", "-sS", "--http2", "--cacert", files.ca_path, "-m", "30", f"https://closed.test:{port}/"]
            command += ["--resolve", f"closed.test:{port}:127.0.0.1", "-w", " %{http_version} %{http_code}"]
            command += ["--cert", pairs[who][0], "--key", pairs[who][1]] if who else []
            responses.append(subprocess.run(command, capture_output=True, text=True, timeout=120).stdout)
    assert responses[0] == "HTTP/2.0 TLSv1.3 closed.test SUCCESS 2 200"
    assert responses[1].endswith(" 2 400") and "No required SSL certificate was sent" in responses[1]


def test_plain_http_on_a_tls_port(servers: Servers) -> None:
    for _, _, secure, _ in servers:
        with Client(secure) as client:
            response = client.exchange(request_bytes(host="a.test"))
            assert response.status == 400
            assert "<title>400 The plain HTTP request was sent to HTTPS port</title>" in response.text
        response = fetch(secure, "/x", host="b.test")
        assert (response.status, response.get("Location")) == (302, f"https://b.test:{secure}/x")


def test_clients_that_stall_or_leave_hold_nobody_up(servers: Servers, files: Files) -> None:
    _, _, secure, _ = servers[1]
    stalled = [connect(secure) for _ in range(20)]
    stalled[0].sendall(b"\x16\x03\x01")
    stalled[1].shutdown(socket.SHUT_WR)
    stalled[2].sendall(b"\x80")
    assert fetch_tls(secure, files).status == 200
    for sock in stalled:
        sock.close()
    assert fetch_tls(secure, files).status == 200


def fetch_tls(port: int, files: Files) -> object:
    with Client(port, tls=files.client(), server_hostname="a.test") as client:
        return client.exchange(request_bytes(host="a.test"))


def test_sessions_are_resumed_in_any_worker(servers: Servers, files: Files) -> None:
    for _, _, secure, _ in servers:
        client = files.client()
        session = None
        reused = []
        for _ in range(6):
            with connect(secure) as sock, client.wrap_socket(sock, server_hostname="b.test", session=session) as tls:
                tls.sendall(request_bytes(host="b.test", close=True))
                reused.append(tls.session_reused)
                while tls.recv(65536):
                    pass
                session = tls.session
        assert reused == [False] + [True] * 5


def test_reload_takes_new_certificates(files: Files, tmp_path: Path) -> None:
    certificate, key = (shutil.copy(path, tmp_path) for path in files.pair("a.test"))
    port = free_port()
    conf = f"""events {{}} http {{ server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {certificate};
        ssl_certificate_key {key}; return 200; }} }}"""
    with run_proxy(conf, tmp_path) as proxy:
        before = peer_certificate(port, files.client(), "a.test")
        new = files.pair("a.test")
        # A pair that does not fit changes nothing.
        shutil.copy(new[0], certificate)
        proxy.signal(SIGHUP)
        wait_until(lambda: "does not belong to the certificate" in proxy.log(), "the fault in the log")
        assert peer_certificate(port, files.client(), "a.test") == before
        shutil.copy(new[1], key)
        proxy.signal(SIGHUP)
        wait_until(lambda: peer_certificate(port, files.client(), "a.test") != before, "the new certificate")


def test_verified_upstreams(files: Files, pairs: Pairs, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pairs["b.test"])
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(files.ca_path)
    port = free_port()
    ours = f"proxy_ssl_certificate {pairs['alice'][0]}; proxy_ssl_certificate_key {pairs['alice'][1]};"
    verify = f"proxy_ssl_verify on; proxy_ssl_trusted_certificate {files.ca_path};"
    with Recorder(tls=context) as upstream:
        conf = f"""error_log stderr; events {{}} http {{ server {{ listen 127.0.0.1:{port};
            location /good {{ {ours} {verify} proxy_ssl_name b.test; proxy_pass {upstream.url}; }}
            location /name {{ {ours} {verify} proxy_ssl_name a.test; proxy_pass {upstream.url}; }}
            location /anonymous {{ proxy_pass {upstream.url}; }} }} }}"""
        with run_proxy(conf, tmp_path) as proxy:
            assert [fetch(port, path).status for path in ("/good", "/name", "/anonymous", "/good")] == [200, 502, 502, 200]
            assert "SSL_do_handshake() failed (SSL: Hostname mismatch" in proxy.log()
    assert [request.target for request in upstream.requests] == ["/good", "/good"]


def encrypted(key: str, folder: Path) -> str:
    """The options of an encrypted copy of a key: its file and that of its password."""
    loaded = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    form = serialization.BestAvailableEncryption(b"caf\xe9")
    made, passwords = folder / "encrypted.key", folder / "passwords"
    made.write_bytes(loaded.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, form))
    passwords.write_bytes(b"wrong\ncaf\xe9\n")
    return f"ssl_certificate_key {made}; PREFIXssl_password_file {passwords};"


@pytest.mark.parametrize("run", [run_nginx, run_proxy])
def test_server_blocks_share_the_protocol_of_their_address(run: Any, files: Files, pairs: Pairs, tmp_path: Path) -> None:
    port = free_port()
    key = encrypted(pairs["a.test"][1], tmp_path).replace("PREFIX", "")
    conf = f"""events {{}} http {{
        server {{ listen 127.0.0.1:{port} ssl; server_name a.test; ssl_certificate {pairs["a.test"][0]}; {key}
            return 200 "a $https"; }}
        server {{ listen 127.0.0.1:{port}; server_name b.test; return 200 "b $https"; }}
        server {{ listen 127.0.0.1:{port} ssl; server_name c.test; return 200 "c $https"; }} }}"""
    with run(conf, tmp_path):
        client = files.client()
        client.check_hostname = False
        for name in ("a", "b", "c"):
            # The name of the block without a certificate brings the default server's.
            assert peer_certificate(port, client, f"{name}.test") == peer_certificate(port, files.client(), "a.test")
            with Client(port, tls=client, server_hostname=f"{name}.test") as connection:
                assert connection.exchange(request_bytes(headers=[("Host", f"{name}.test")])).body == f"{name} on".encode()
        assert fetch(port, "/", headers=[("Host", "b.test")]).status == 400


@pytest.mark.ours_alone("other workers get no TLS from the configuration")
def test_ssl_on(files: Files, pairs: Pairs, tmp_path: Path) -> None:
    port = free_port()
    certificate, key = pairs["a.test"]
    conf = f"""events {{}} http {{ server {{ listen 127.0.0.1:{port}; server_name a.test; ssl on;
        ssl_certificate {certificate}; ssl_certificate_key {key}; return 200 "$https"; }} }}"""
    with run_proxy(conf, tmp_path) as proxy:
        with Client(port, tls=files.client(), server_hostname="a.test") as connection:
            assert connection.exchange(request_bytes(headers=[("Host", "a.test")])).body == b"on"
        assert 'the "ssl" directive is deprecated, use the "listen ... ssl" directive instead' in proxy.log()


@pytest.mark.parametrize("run", [run_nginx, run_proxy])
def test_an_encrypted_key_for_upstreams(run: Any, files: Files, pairs: Pairs, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pairs["b.test"])
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(files.ca_path)
    port = free_port()
    key = "proxy_" + encrypted(pairs["alice"][1], tmp_path).replace("PREFIX", "proxy_")
    with Recorder(tls=context) as upstream:
        conf = f"""events {{}} http {{ server {{ listen 127.0.0.1:{port}; location / {{
            proxy_ssl_certificate {pairs["alice"][0]}; {key} proxy_pass {upstream.url}; }} }} }}"""
        with run(conf, tmp_path):
            assert fetch(port, "/").status == 200


def test_what_the_test_of_a_configuration_says(files: Files, pairs: Pairs, tmp_path: Path) -> None:
    def check(certificate: str, key: str, secure: str = "ssl") -> tuple[int, str]:
        path = tmp_path / "nginx.conf"
        lines = ["events {}", "http {", "    server {", f"        listen 127.0.0.1:1 {secure};"]
        lines += [f"        ssl_certificate {certificate};", f"        ssl_certificate_key {key};", "    }", "}"]
        path.write_text("\n".join(lines))
        command = [sys.executable, "-m", "wsgi_proxy", "-t", "-c", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
        return done.returncode, done.stderr

    assert check(*pairs["a.test"])[0] == 0
    status, said = check(*pairs["expired"])
    assert status == 0 and f'[warn] certificate "{pairs["expired"][0]}" expired on ' in said
    status, said = check(pairs["a.test"][0], pairs["b.test"][1])
    assert status == 1 and "nginx.conf:6: the key " in said and "does not belong to the certificate" in said
    status, said = check("/missing.crt", pairs["a.test"][1])
    assert status == 1 and 'nginx.conf:5: open() "/missing.crt" failed (2: No such file or directory)' in said
    # nginx reads the certificates of a server block without TLS, too.
    status, said = check("/missing.crt", pairs["a.test"][1], "")
    assert status == 1 and 'nginx.conf:5: open() "/missing.crt" failed (2: No such file or directory)' in said
