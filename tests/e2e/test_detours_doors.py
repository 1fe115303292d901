"""A body that another location gets, over TLS and HTTP/2. tests/differential/test_detours.py has plain HTTP beside nginx."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Recorder, Running, free_ports, run_proxy
from tests.support.detours import body_of, conf, response
from tests.support.tls import Files

TARGETS = "/dead/named /dead/twice /intercepted/uri /accel/uri /accel/failing /auth /streamed/named".split()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("doors")
    certificate, key = Files(folder).pair("localhost")
    port, secure, dead = free_ports(3)
    more = f"listen {secure} ssl; http2 on; ssl_certificate {certificate}; ssl_certificate_key {key};"
    with Recorder(response, read_body=False) as up, run_proxy(conf(port, up, up, dead, folder, more), folder) as running:
        yield running


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("door", ["--http1.1", "--http2"])
@pytest.mark.parametrize("target", TARGETS)
def test_the_body_comes_along(proxy: Running, tmp_path: Path, target: str, door: str, framing: str) -> None:
    secure = proxy.addresses[1]
    for size in (0, 1, 16 * 1024, 1024 * 1024):
        path = tmp_path / "body"
        path.write_bytes(body_of(size))
        words = ["-T", "-"] if framing == "chunked" else ["--data-binary", f"@{path}"]
        command = ["curl", "-sSk", "-m", "60", door, "-X", "POST", *words, f"https://localhost:{secure}{target}"]
        with path.open("rb") as file:
            done = subprocess.run(command, stdin=file, capture_output=True, timeout=120)
        expected = "said" if target == "/dead/twice" else f"{size} {hashlib.sha1(body_of(size)).hexdigest()}"
        assert done.stdout.decode().endswith(expected), (size, done)
