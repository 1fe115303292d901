"""The inputs and the result of each configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..upstream import Upstreams

WORKERS = 2
KEPT = 64
"""Idle upstream connections that a worker keeps, at least."""
GZIP_LEVEL = 1


@dataclass(frozen=True)
class Setup:
    """One contender to start: its ports, a folder that only it uses, and the size of its configuration."""

    folder: Path
    port: int
    tls_port: int
    upstreams: Upstreams
    servers: int = 6
    connections: int = 4096
    """Connections of each worker, for contenders that allocate them at the start."""
    policy: str = "least_conn;"
    location: str = ""
    """Further text of the server block of an nginx.conf."""
    others: str = ""
    """Further server blocks of an nginx.conf; PORT stands for the port."""

    @property
    def access_log(self) -> Path:
        return self.folder / "access.log"

    @property
    def addresses(self) -> list[str]:
        """The addresses of the servers; each is different, and all belong to the six ports."""
        ports = self.upstreams.ports
        return [f"127.0.{n // 1500}.{n // 6 % 250 + 1}:{ports[n % len(ports)]}" for n in range(self.servers)]

    @property
    def kept(self) -> int:
        """Idle upstream connections that a worker keeps."""
        return max(KEPT, self.servers)


@dataclass(frozen=True)
class Launch:
    """The command of a contender."""

    command: list[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    tls: bool = True
    """A TLS listener exists."""
