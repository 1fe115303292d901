"""One listening socket of a worker: accepting, what is said in each request's environ, and the limits of its clients.

Rules:
- Accepting is a callback of the loop: it never waits, and takes few connections at a time, so that workers that share the socket
  share the work.
- No connection is taken that the worker has no room for; the kernel's queue keeps it for another worker or for later.
"""

from __future__ import annotations

import _socket
import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..http import METHOD
from .connection import Connection

if TYPE_CHECKING:
    import ssl

    from ..config import CoreSettings
    from ..http import HeadRules
    from .service import Service

_SHORTAGE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_RETRY_AFTER_SHORTAGE = 0.5


def _keep_line(seconds: float | None) -> str:
    line = "Connection: keep-alive\r\n"
    return line if seconds is None else f"{line}Keep-Alive: timeout={int(seconds)}\r\n"


class ListenerSettings:
    """What the clients of one listener may do. Times in seconds, sizes in bytes; 0 turns a limit of `max_fields` off.

    The defaults are nginx's (ngx_http_core_module). A request line over `max_line` is answered 414, a field over `max_field`, or
    a head over `max_head`, 400, as `large_client_header_buffers` does.
    """

    __slots__ = (
        "response_plain",
        "chunks",
        "client_body_timeout",
        "client_header_timeout",
        "folds_methods",
        "keep_line",
        "keepalive_requests",
        "keepalive_time",
        "keepalive_timeout",
        "lingering_time",
        "lingering_timeout",
        "max_field",
        "max_fields",
        "max_head",
        "max_line",
        "methods",
        "proxy_protocol",
        "rules",
        "scheme_keys",
        "send_timeout",
        "tls",
        "trust_proxy_protocol",
    )

    def __init__(
        self,
        *,
        keepalive_timeout: float = 75.0,
        keepalive_header: float | None = None,
        keepalive_requests: int = 1000,
        keepalive_time: float = 3600.0,
        client_header_timeout: float = 60.0,
        client_body_timeout: float = 60.0,
        send_timeout: float = 60.0,
        large_client_header_buffers: tuple[int, int] = (4, 8192),
        client_header_buffer_size: int = 1024,
        max_fields: int = 0,
        proxy_protocol: bool = False,
        trust_proxy_protocol: bool = False,
        tls: Callable[[], ssl.SSLContext] | None = None,
        response_plain: bool = False,
    ) -> None:
        self.keepalive_timeout = keepalive_timeout
        self.keep_line = _keep_line(keepalive_header)
        """What an answer says whose connection is kept."""
        self.keepalive_requests = keepalive_requests
        self.keepalive_time = keepalive_time
        """How old a connection may be that is to be kept."""
        self.chunks = True
        """Whether an answer without a length goes out in chunks, not to the connection's end (`chunked_transfer_encoding`)."""
        self.client_header_timeout = client_header_timeout
        self.client_body_timeout = client_body_timeout
        self.send_timeout = send_timeout
        number, size = large_client_header_buffers
        # For nginx the line's end is in the buffer too.
        self.max_line = self.max_field = max(size, client_header_buffer_size) - 2
        self.max_head = client_header_buffer_size + number * size
        self.max_fields = max_fields
        self.lingering_time = 30.0
        self.lingering_timeout = 5.0
        self.proxy_protocol = proxy_protocol
        self.trust_proxy_protocol = trust_proxy_protocol
        """Whether REMOTE_ADDR is what the PROXY protocol says."""
        self.rules: HeadRules | None = None
        """gunicorn's settings about heads, where they govern this listener."""
        self.scheme_keys: tuple[str, ...] = ()
        """The environ's keys for the fields in which a trusted peer names the scheme."""
        self.methods = METHOD
        self.folds_methods = False
        self.tls = tls
        self.response_plain = response_plain
        """Whether plain HTTP that comes to a TLS listener is for the application to answer (`connection.plain_on_tls`)."""

    def apply(self, rules: HeadRules) -> None:
        """Let gunicorn's settings about request heads hold."""
        self.rules, self.scheme_keys = rules, rules.scheme_keys
        self.methods, self.folds_methods = rules.methods, rules.folds

    def of(self, core: CoreSettings) -> ListenerSettings:
        """These settings with what a location says itself; the very same object when it says nothing else."""
        made = ListenerSettings(
            keepalive_timeout=core.keepalive_timeout,
            keepalive_header=core.keepalive_timeout_header,
            keepalive_requests=core.keepalive_requests,
            keepalive_time=core.keepalive_time,
            client_header_timeout=self.client_header_timeout,
            client_body_timeout=core.client_body_timeout,
            send_timeout=core.send_timeout,
            max_fields=self.max_fields,
            proxy_protocol=self.proxy_protocol,
            trust_proxy_protocol=self.trust_proxy_protocol,
            tls=self.tls,
            response_plain=self.response_plain,
        )
        made.chunks = core.chunked_transfer_encoding
        made.rules, made.scheme_keys = self.rules, self.scheme_keys
        made.methods, made.folds_methods = self.methods, self.folds_methods
        made.max_line, made.max_field, made.max_head = self.max_line, self.max_field, self.max_head
        made.lingering_time, made.lingering_timeout = self.lingering_time, self.lingering_timeout
        return self if made._said() == self._said() else made

    def _said(self) -> tuple[float, int, float, float, float, bool, str]:
        """All that a location may change."""
        return (
            self.keepalive_timeout,
            self.keepalive_requests,
            self.keepalive_time,
            self.client_body_timeout,
            self.send_timeout,
            self.chunks,
            self.keep_line,
        )


class Listener:
    """A listening socket and its watcher.

    `address` is (host, port) or a path, as bound; `name` is the same as text; `base` is what all environs of its requests share.
    """

    __slots__ = (
        "_batch",
        "_sock",
        "_watcher",
        "address",
        "base",
        "by_location",
        "family",
        "name",
        "paused",
        "service",
        "settings",
    )

    def __init__(self, service: Service, sock: Any, settings: ListenerSettings, base: dict[str, Any], batch: int) -> None:
        self.service = service
        # A copy of the descriptor, so that closing it here is this object's business alone.
        self._sock = _socket.socket(sock.family, socket.SOCK_STREAM, 0, _socket.dup(sock.fileno()))
        self._sock.setblocking(False)
        self.family = sock.family
        self.settings = settings
        self._batch = batch
        self.paused = False
        self.by_location: dict[int, ListenerSettings] = {}
        """The settings as locations change them, by the identity of what they say, which the configuration keeps alive."""
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
            **base,
        }
        self._watcher: Any = service.hub.loop.io(self._sock.fileno(), 1)

    def start(self) -> None:
        """Begin to accept."""
        self._watcher.start(self._on_connections)

    def pause(self) -> None:
        """Accept nothing until `resume`: the worker is full."""
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
        """Take at most `limit` of the connections that wait."""
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
        self.service.log.error("accept() on %s failed: %s", self.name, error)
        if error.errno in _SHORTAGE:
            # The socket stays readable: without a pause the loop would spin until a descriptor is free.
            self.pause()
            self.service.later(_RETRY_AFTER_SHORTAGE, self.resume)

    def drain(self) -> None:
        """Accept what has already queued up, as far as there is room, and nothing more."""
        if self._watcher is not None:
            self.paused = False
            self.accept(self.service.max_connections)
        self.close()

    def close(self) -> None:
        """Accept nothing more."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
            self._sock.close()
