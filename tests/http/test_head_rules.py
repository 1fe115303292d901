"""head_rules: gunicorn's settings about request heads have the same effect under ProxyWorker as under gthread."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from gunicorn.config import Config

from tests.support.client import send_raw
from tests.support.processes import run_gunicorn
from wsgi_proxy.errors import ClientError
from wsgi_proxy.http.head_rules import _MAX_PEERS, HeadRules

WORKER = "wsgi_proxy.worker.ProxyWorker"

APP = """
import json

def app(environ, start_response):
    names = ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "RAW_URI", "wsgi.url_scheme", "REMOTE_ADDR")
    shown = {name: environ.get(name) for name in names}
    shown.update((key, value.replace(", ", ",")) for key, value in environ.items() if key.startswith("HTTP_"))
    body = json.dumps(shown, sort_keys=True).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

SETTINGS = {
    "default": "",
    "an address that is not the peer's": 'forwarded_allow_ips = "10.0.0.1"',
    "a network": 'forwarded_allow_ips = "127.0.0.0/8"',
    "nobody": 'forwarded_allow_ips = ""; forwarder_headers = ""',
    "everybody": 'forwarded_allow_ips = "*"',
    "another scheme header": 'secure_scheme_headers = {"X-SSL": "1", "X_TLS": "yes"}',
    "forwarders": 'forwarder_headers = "REMOTE_USER,X_A"',
    "all forwarders": 'forwarder_headers = "*"',
    "all forwarders, untrusted": 'forwarder_headers = "*"; forwarded_allow_ips = "10.0.0.1"',
    "map refuse": 'header_map = "refuse"',
    "map dangerous": 'header_map = "dangerous"',
    "map dangerous, untrusted": 'header_map = "dangerous"; forwarded_allow_ips = "10.0.0.1"',
    "any method": "permit_unconventional_http_method = True",
    "any method in capitals": "permit_unconventional_http_method = True; casefold_http_method = True",
}

REQUESTS = [
    b"GET /a%20b/c?d HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\nX-Forwarded-Proto: https\r\n",
    b"GET / HTTP/1.1\r\nx-forwarded-proto: http\r\n",
    b"GET / HTTP/1.1\r\nX-Forwarded-Proto: HTTPS\r\n",
    b"GET / HTTP/1.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Proto: https\r\n",
    b"GET / HTTP/1.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Ssl: on\r\n",
    b"GET / HTTP/1.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n",
    b"GET / HTTP/1.1\r\nX-Forwarded-Protocol: ssl\r\n",
    b"GET / HTTP/1.1\r\nX-SSL: 1\r\n",
    b"GET / HTTP/1.1\r\nX_TLS: yes\r\n",
    b"GET /app/x?y HTTP/1.1\r\nSCRIPT_NAME: /app\r\n",
    b"GET /other/x HTTP/1.1\r\nscript_name: /app\r\n",
    b"GET /x HTTP/1.1\r\nPATH_INFO: /y\r\n",
    b"GET / HTTP/1.1\r\nREMOTE_USER: root\r\n",
    b"GET / HTTP/1.1\r\nX_A: 1\r\nX-A: 2\r\nx_a: 3\r\n",
    b"GET / HTTP/1.1\r\nX-A: 2\r\nX_B: 3\r\n",
    b"get / HTTP/1.1\r\n",
    b"GeT / HTTP/1.1\r\n",
    b"GE / HTTP/1.1\r\n",
    b"MKCOL / HTTP/1.1\r\n",
    b"M-SEARCH / HTTP/1.1\r\n",
    b"X!Y$1 / HTTP/1.1\r\n",
    b"A#B / HTTP/1.1\r\n",
    b"ABCDEFGHIJKLMNOPQRST / HTTP/1.1\r\n",
    b"ABCDEFGHIJKLMNOPQRSTU / HTTP/1.1\r\n",
    b"G@T / HTTP/1.1\r\n",
]


def asked(port: int, request: bytes) -> tuple[int, Any]:
    raw = send_raw(port, request + b"Host: a\r\nConnection: close\r\n\r\n")
    head, _, body = raw.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    return status, json.loads(body) if status == 200 else None


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_settings_mean_what_they_mean_to_gthread(tmp_path: Path, settings: str) -> None:
    found = {}
    for worker in ("gthread", WORKER):
        folder = tmp_path / worker
        (folder / "gunicorn").mkdir(parents=True)
        (folder / "gunicorn" / "shown.py").write_text(APP)
        (folder / "gunicorn" / "conf.py").write_text(settings + "\n")
        with run_gunicorn("shown:app", folder, worker, args=["--config", "conf.py"]) as server:
            # Twice, because a block of fields is remembered.
            found[worker] = [asked(server.port, request) for request in REQUESTS * 2]
    for number, request in enumerate(REQUESTS * 2):
        assert found[WORKER][number] == found["gthread"][number], request


def test_nginx_conf_is_not_governed_by_them() -> None:
    """The `wsgi-proxy` command's application has its own listener settings: no rules, nginx's methods."""
    from wsgi_proxy.http.syntax import METHOD
    from wsgi_proxy.worker.settings import ListenerSettings

    settings = ListenerSettings()
    assert settings.rules is None and settings.methods is METHOD and not settings.folds_methods


def rules(**settings: Any) -> HeadRules:
    cfg = Config()
    for name, value in settings.items():
        cfg.set(name, value)
    return HeadRules(cfg)


def test_trusted_peers() -> None:
    default = rules()
    assert default.trusts(("127.0.0.1", 1)) and default.trusts(("::1", 1, 0, 0)) and default.trusts("")
    assert not default.trusts(("192.0.2.1", 1)) and not default.trusts(("no address", 1))
    assert rules(forwarded_allow_ips="192.0.2.0/24").trusts(("192.0.2.1", 1))
    for number in range(_MAX_PEERS + 1):
        default.trusts((f"10.0.{number // 256}.{number % 256}", 1))
    assert len(default._trusts._known) <= _MAX_PEERS


def test_the_proxy_protocol_is_for_the_addresses_of_proxy_allow_ips(tmp_path: Path) -> None:
    rules().check_proxy_protocol(("127.0.0.1", 1))
    with pytest.raises(ClientError) as caught:
        rules(proxy_allow_ips="10.0.0.1").check_proxy_protocol(("127.0.0.1", 1))
    assert caught.value.status == 403
    folder = tmp_path / "gunicorn"
    folder.mkdir()
    (folder / "shown.py").write_text(APP)
    data = b"PROXY TCP4 192.0.2.9 192.0.2.1 1000 80\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with run_gunicorn("shown:app", tmp_path, WORKER, args=["--proxy-protocol", "auto"]) as server:
        assert b'"REMOTE_ADDR": "192.0.2.9"' in send_raw(server.port, data)
    args = ["--proxy-protocol", "auto", "--proxy-allow-from", "10.0.0.1"]
    with run_gunicorn("shown:app", tmp_path, WORKER, args=args) as server:
        assert b"192.0.2.9" not in send_raw(server.port, data)


def test_a_method_may_arrive_in_pieces(tmp_path: Path) -> None:
    folder = tmp_path / "gunicorn"
    folder.mkdir()
    (folder / "shown.py").write_text(APP)
    with run_gunicorn("shown:app", tmp_path, WORKER) as server, socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.settimeout(30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (b"G", b"E", b"T / HTTP/1.1\r\nHost: a\r\n", b"Connection: close\r\n\r\n"):
            sock.sendall(piece)
            if piece == b"G":
                # The worker has read the first piece when it answers another client.
                assert asked(server.port, b"GET / HTTP/1.1\r\n")[0] == 200
        assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
