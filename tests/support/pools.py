"""Stand-ins for the tests of pools and balancing methods: a request, and a clock that the test moves."""

from __future__ import annotations

from typing import Any


class Request:
    """The parts of an Exchange that the choice of a server reads."""

    def __init__(self, remote_addr: str = "127.0.0.1", cookie: str = "") -> None:
        self.remote_addr = remote_addr
        self.tried: set[Any] | None = None
        self.cookie = cookie

    def header(self, name: str) -> str:
        assert name == "Cookie"
        return self.cookie


class Clock:
    """A clock that stands still at `now` seconds."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
