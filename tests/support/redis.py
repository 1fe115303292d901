"""A redis-server for tests, on a unix socket in a directory of the test."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path


class RedisServer:
    """A context manager that may be stopped and started again; `url` is what `proxy_cache_path` takes."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        command = ["redis-server", "--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no"]
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
