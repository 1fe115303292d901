"""Real dnsmasq for tests, on a port of the loopback address, with records that a test changes while it runs.

Rules:
- Addresses are read again without a restart, by SIGHUP. Services (SRV) need `restart`, because dnsmasq reads them at its start.
- Names without a dot, or below `.test`, `.local` and `.consul`, do not exist without records (NXDOMAIN). No other
  server is asked.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from .ports import free_port, wait_until

Service = tuple[str, int, int, int]
"""The host, port, priority and weight of an SRV record."""


class Dnsmasq:
    """A context manager. `ttl` is the time to live of all records in seconds; `address` is what `resolver` takes."""

    def __init__(self, folder: Path, ttl: int = 1) -> None:
        program = shutil.which("dnsmasq", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        if program is None:
            pytest.skip("no dnsmasq on this system")
        self._program = program
        self._hosts = folder / "dnsmasq.hosts"
        self._log = folder / "dnsmasq.log"
        self._port = free_port()
        self._ttl = ttl
        self._services: dict[str, Sequence[Service]] = {}
        self._hosts.write_text("")
        self.address = f"127.0.0.1:{self._port}"

    def __enter__(self) -> Dnsmasq:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def set(self, hosts: Mapping[str, Sequence[str]]) -> None:
        """Replace the addresses of all names, and wait until dnsmasq has read them."""
        self._hosts.write_text("".join(f"{address} {name}\n" for name, found in hosts.items() for address in found))
        before = self.log().count(f"read {self._hosts}")
        self._process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.log().count(f"read {self._hosts}") > before, "dnsmasq to read the addresses")

    def restart(self, services: Mapping[str, Sequence[Service]]) -> None:
        """Start again with these services."""
        self.stop()
        self._services = dict(services)
        self.start()

    def log(self) -> str:
        """Return dnsmasq's messages, with a line for each query."""
        return self._log.read_text(errors="replace")

    def start(self) -> None:
        """Start, and wait until it answers."""
        command = [self._program, "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--log-queries"]
        command += [f"--port={self._port}", "--listen-address=127.0.0.1", "--bind-interfaces", f"--local-ttl={self._ttl}"]
        command += [f"--addn-hosts={self._hosts}", "--log-facility=-", "--pid-file=", "--user=root"]
        # Names without a dot, such as Docker's, would be refused for the family of addresses that they do not have.
        command += ["--domain-needed", *(f"--local=/{domain}/" for domain in ("test", "local", "consul"))]
        for name, records in self._services.items():
            command += [f"--srv-host={name},{host},{port},{priority},{weight}" for host, port, priority, weight in records]
        before = self._log.stat().st_size if self._log.exists() else 0
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def ready() -> bool:
            text = self._log.read_bytes()[before:].decode(errors="replace")
            assert self._process.poll() is None, text
            return f"read {self._hosts}" in text

        wait_until(ready, "dnsmasq to start")

    def stop(self) -> None:
        """Stop. May be called again."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(30)
