"""Stand-ins for the shared memory, for tests of one process."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

from wsgi_proxy.exchange import Exchange


class PrivateMemory:
    """The zone's interface in this process's own memory; `slot` and `generations` may be set to play several workers."""

    def __init__(self) -> None:
        self.areas: dict[str, memoryview] = {}
        self.slot = 0
        self.generations = {0: 1}
        self.dying: set[int] = set()

    def area(self, name: str, size: int) -> memoryview:
        return self.areas.setdefault(name, memoryview(bytearray(size)))

    def lock(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def generation(self, slot: int) -> int:
        return self.generations.get(slot, 0)

    def reap(self) -> bool:
        found = bool(self.dying)
        for slot in self.dying:
            self.generations[slot] = 0
        self.dying.clear()
        return found


def text(value: str) -> Any:
    """A template that always gives `value`."""
    return lambda x: value


def argument(name: str) -> Any:
    """A template that gives the value of a query argument."""

    def find(x: Exchange) -> str:
        for pair in x.args.split("&"):
            key, _, value = pair.partition("=")
            if key == name:
                return value
        return ""

    return find


def exchange(method: str = "GET", target: str = "/", headers: dict[str, str] | None = None, **attributes: Any) -> Exchange:
    """An exchange as routing leaves it: `args` set, and the given attributes on it."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "RAW_URI": target,
        "PATH_INFO": target.partition("?")[0],
        "QUERY_STRING": target.partition("?")[2],
        "REMOTE_ADDR": "192.0.2.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.input": SimpleNamespace(read=lambda size: b""),
    }
    for name, value in (headers or {}).items():
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_LENGTH", "CONTENT_TYPE") else f"HTTP_{key}"] = value
    x = Exchange.from_environ(environ)
    x.uri, _, x.args = target.partition("?")
    for name, value in attributes.items():
        setattr(x, name, value)
    return x
