"""Running proxies for tests/e2e/test_matrix.py, and how a client connects to them.

Rules:
- A proxy has one listener: plain, TLS, HTTP/2 over TLS, or behind the PROXY protocol. Under gunicorn's own worker classes these
  are gunicorn's options, because the listener is gunicorn's.
- A client that pauses has a small receive buffer, so that the server feels it.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import Running, free_port, run_gunicorn, run_nginx, run_proxy
from tests.support.matrix_clients import DEADLINE, Http1Client
from tests.support.matrix_http2 import Http2Client
from tests.support.tls import Files

CONFIGURATION = """
worker_processes 2;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_max_body_size 0;
    proxy_read_timeout 100s; proxy_send_timeout 100s; send_timeout 100s; client_body_timeout 100s; client_header_timeout 100s;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_cache_lock on;
    proxy_cache_path disk keys_zone=disk:10m;
    proxy_cache_path memory keys_zone=memory:10m max_size=64m;
    upstream origin {{ server {address} max_fails=0; keepalive 32; }}
    server {{
        listen 127.0.0.1:{port}{options};
        {tls}
        location / {{ proxy_pass http://origin; }}
        location /unbuffered/ {{ proxy_pass http://origin; proxy_buffering off; proxy_request_buffering off; }}
        location /disk/ {{ proxy_pass http://origin; proxy_cache disk; }}
        location /memory/ {{ proxy_pass http://origin; proxy_cache memory; }}
    }}
}}
"""


@dataclass
class Endpoint:
    """The listener of a running proxy: its protocol, its port, and the file with the authority of its certificate."""

    protocol: str
    port: int
    ca: str
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.context = ssl.create_default_context(cafile=self.ca)
        self.context.set_alpn_protocols(["h2" if self.protocol == "http2" else "http/1.1"])

    def connect(self, slow: bool) -> socket.socket:
        """Return a connected socket, after the header of the PROXY protocol or the TLS handshake."""
        sock = socket.socket()
        sock.settimeout(DEADLINE)
        if slow:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
        try:
            sock.connect(("127.0.0.1", self.port))
            if self.protocol == "proxy":
                sock.sendall(_proxy_header(next(self.numbers)))
            if self.protocol in ("tls", "http2"):
                return self.context.wrap_socket(sock, server_hostname="localhost")
            return sock
        except BaseException:
            sock.close()
            raise

    def client(self, slow: bool = False) -> Http1Client | Http2Client:
        """Return a client on a new connection."""
        return (Http2Client if self.protocol == "http2" else Http1Client)(self.connect(slow))


def _proxy_header(number: int) -> bytes:
    """Return a header of the PROXY protocol, of version 1 and 2 in turn."""
    if number % 2:
        return b"PROXY TCP4 192.0.2.7 127.0.0.1 4321 80\r\n"
    addresses = socket.inet_aton("192.0.2.7") + socket.inet_aton("127.0.0.1") + struct.pack("!HH", 4321, 80)
    return b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack("!H", len(addresses)) + addresses


@contextmanager
def run_endpoint(worker: str, protocol: str, upstream: str, folder: Path) -> Iterator[tuple[Endpoint, Running]]:
    """Run a proxy before `upstream` (host:port); `worker` is a worker class, or nginx."""
    files = Files(folder)
    certificate, key = files.pair("localhost")
    port = free_port()
    ours = worker in ("ProxyWorker", "nginx")
    options = {"tls": " ssl", "http2": " ssl", "proxy": " proxy_protocol"}.get(protocol, "") if ours else ""
    tls = f"ssl_certificate {certificate}; ssl_certificate_key {key};" if "ssl" in options else ""
    if protocol == "http2" and ours:
        tls += " http2 on;"
    text = CONFIGURATION.format(address=upstream, port=port, options=options, tls=tls)
    if ours:
        run = run_nginx if worker == "nginx" else run_proxy
        with run(text, folder) as server:
            yield Endpoint(protocol, port, files.ca_path), server
        return
    (folder / "nginx.conf").write_text(text)
    args = ["--keep-alive", "75", "--timeout", "100"]
    if worker == "gthread":
        args += ["--threads", "200"]
    if protocol in ("tls", "http2"):
        args += ["--certfile", certificate, "--keyfile", key, "--http-protocols", "h2,h1" if protocol == "http2" else "h1"]
    if protocol == "proxy":
        args += ["--proxy-protocol", "auto"]
    env = {"WSGI_PROXY_CONFIG": str(folder / "nginx.conf")}
    with run_gunicorn("wsgi_proxy:app", folder, worker, 2, bind=port, args=args, env=env) as server:
        yield Endpoint(protocol, port, files.ca_path), server
