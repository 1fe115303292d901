"""The variables of TLS connections in real nginx and here, for clients with and without a certificate."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.support import Client, Running, free_port, run_nginx, run_proxy
from tests.support.tls import Files

NAMES = """
ssl_alpn_protocol ssl_cipher ssl_client_cert ssl_client_escaped_cert ssl_client_fingerprint ssl_client_i_dn ssl_client_i_dn_legacy
ssl_client_raw_cert ssl_client_s_dn ssl_client_s_dn_legacy ssl_client_serial ssl_client_sigalg ssl_client_v_end
ssl_client_v_remain ssl_client_v_start ssl_client_verify ssl_early_data ssl_ech_outer_server_name ssl_ech_status ssl_protocol
ssl_server_name ssl_session_reused
""".split()


def configuration(port: int, files: Files, verify: str) -> str:
    certificate, key = files.pair("a.test")
    shown = "".join(f"{name}=[${{{name}}}]\\n" for name in NAMES)
    return f"""events {{}}
    http {{
        access_log off;
        server {{
            listen 127.0.0.1:{port} ssl;
            ssl_certificate {certificate};
            ssl_certificate_key {key};
            ssl_protocols TLSv1.2 TLSv1.3;
            {verify}
            location / {{ return 200 "{shown}"; }}
            location /id {{ return 200 "$ssl_session_id"; }}
        }}
    }}"""


def ask(server: Running, client: ssl.SSLContext, target: str = "/") -> str:
    with Client(server.port, tls=client, server_hostname="a.test") as connection:
        head = f"GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"
        return connection.exchange(head.encode(), "GET").body.decode("latin-1")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("verified", ["off", "optional with", "optional without"])
def test_tls_variables(tmp_path: Path, version: ssl.TLSVersion, verified: str) -> None:
    files = Files(tmp_path)
    client = ssl.create_default_context(cafile=files.ca_path)
    client.minimum_version = client.maximum_version = version
    client.set_alpn_protocols(["http/1.1"])
    if verified == "optional with":
        client.load_cert_chain(*files.pair("alice"))
    verify = "" if verified == "off" else f"ssl_verify_client optional; ssl_client_certificate {files.ca_path};"
    with run_nginx(configuration(free_port(), files, verify), tmp_path) as theirs:
        expected = ask(theirs, client)
        session = ask(theirs, client, "/id")
    with run_proxy(configuration(free_port(), files, verify), tmp_path) as ours:
        assert ask(ours, client).split("]\n") == expected.split("]\n")
        # Connections that may have a client certificate have no sessions here (`tls/openssl.py`).
        assert len(ask(ours, client, "/id")) == (len(session) if verified == "off" else 0)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_ciphers_of_the_client_that_the_server_has(tmp_path: Path, version: ssl.TLSVersion) -> None:
    files = Files(tmp_path)
    client = ssl.create_default_context(cafile=files.ca_path)
    client.minimum_version = client.maximum_version = version
    client.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384")

    def conf() -> str:
        return configuration(free_port(), files, 'location /ciphers { return 200 "$ssl_ciphers"; }')

    with run_nginx(conf(), tmp_path) as theirs, run_proxy(conf(), tmp_path) as ours:
        # nginx has the values that are no ciphers, too, such as that of secure renegotiation.
        known = [name for name in ask(theirs, client, "/ciphers").split(":") if name[:2] != "0x" and name[-4:] != "SCSV"]
        assert sorted(ask(ours, client, "/ciphers").split(":")) == sorted(known)
        assert len(known) >= 3
