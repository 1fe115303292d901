"""A listening socket of a worker: accepting connections, and the settings and environ keys that they share.

Rules:
- Connections are accepted in a callback of the loop, which never waits. It accepts few at a time, so that workers that share
  the socket share the work.
- A worker at its limit accepts no connection. The kernel's queue keeps it for another worker or for later.
"""

from __future__ import annotations

import _socket
import errno
import socket
from typing import TYPE_CHECKING, Any, Final

from .connection import Connection
from .request import REQUEST_KEYS

if TYPE_CHECKING:
    from .service import Service
    from .settings import ListenerSettings

_FEW_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE})
_SHORTAGE: Final = _FEW_DESCRIPTORS | {errno.ENOBUFS, errno.ENOMEM}
_RETRY_AFTER_SHORTAGE: Final = 0.5


class Listener:
    """A listening socket and its watcher.

    `address` is (host, port) or a path, as bound; `name` is its text; `base` has the environ keys that all requests share.
    """

    __slots__ = (
        "_batch",
        "_sock",
        "_watcher",
        "address",
        "base",
        "family",
        "name",
        "paused",
        "service",
        "settings",
    )

    def __init__(self, service: Service, sock: Any, settings: ListenerSettings, base: dict[str, Any], batch: int) -> None:
        self.service = service
        # A duplicate, so that closing it here does not close gunicorn's socket.
        self._sock = _socket.socket(sock.family, socket.SOCK_STREAM, 0, _socket.dup(sock.fileno()))
        self._sock.setblocking(False)
        self.family = sock.family
        self.settings = settings
        self._batch = batch
        self.paused = False
        where = self._sock.getsockname()
        self.address: tuple[str, int] | str
        if isinstance(where, tuple):
            self.address = (where[0], where[1])
            server, port = where[0], str(where[1])
            self.name = f"[{server}]:{port}" if ":" in server else f"{server}:{port}"
        else:
            self.address = where if isinstance(where, str) else where.decode("latin-1")
            self.name = f"unix:{self.address}"
            server, port = "localhost", ""
        self.base = {
            "wsgi.url_scheme": "https" if settings.tls else "http",
            "SERVER_NAME": server,
            "SERVER_PORT": port,
            # With room for the keys of each request, which its copy then need not grow for.
            **dict.fromkeys(REQUEST_KEYS, ""),
            **base,
        }
        self._watcher: Any = service.hub.loop.io(self._sock.fileno(), 1)

    def start(self) -> None:
        """Start accepting."""
        self._watcher.start(self._on_connections)

    def pause(self) -> None:
        """Stop accepting until `resume`, because the worker is full."""
        if not self.paused:
            self.paused = True
            self._watcher.stop()

    def resume(self) -> None:
        """Accept again after `pause`."""
        if self.paused and self._watcher is not None:
            self.paused = False
            self.start()

    def _on_connections(self) -> None:
        self.accept(self._batch)

    def accept(self, limit: int) -> None:
        """Accept at most `limit` of the pending connections."""
        service = self.service
        for _ in range(limit):
            if len(service.connections) >= service.max_connections:
                service.full()
                return
            if self.paused:
                return
            try:
                fileno, peer = self._sock._accept()  # type: ignore[attr-defined]
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            except OSError as error:
                self._accept_failed(error)
                return
            sock = _socket.socket(self.family, socket.SOCK_STREAM, 0, fileno)
            Connection(self, sock, peer).open()

    def _accept_failed(self, error: OSError) -> None:
        cure = ": raise worker_rlimit_nofile or lower worker_connections" if error.errno in _FEW_DESCRIPTORS else ""
        self.service.log.error("accept() on %s failed: %s%s", self.name, error, cure)
        if error.errno in _SHORTAGE:
            # The socket stays readable: without a pause the loop would spin until a descriptor is free.
            self.pause()
            self.service.later(_RETRY_AFTER_SHORTAGE, self.resume)

    def drain(self) -> None:
        """Accept the connections that are already queued, up to the worker's limit, then close."""
        if self._watcher is not None:
            self.paused = False
            self.accept(self.service.max_connections)
        self.close()

    def close(self) -> None:
        """Stop accepting permanently."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
            self._sock.close()
