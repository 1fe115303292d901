"""The proxy as a middleware: it forwards some paths of an application, and the application answers all others.

Rules:
- The router's form of the path decides: decoded once, `.` and `..` resolved. `/legacy/../x` is `/x`.
- The application gets the environ untouched, its input unread.
- A path that leaves the root has no such form and is not covered by a mapping: the application answers.
- Not compiled: `python_config` checks the types of its arguments, with a ConfigError that names the argument.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..config import arguments
from ..errors import ClientError, ProxyError
from ..exchange import Exchange
from ..http import resolved
from .app import ProxyApp
from .python_config import MERGE_SLASHES, config_for_targets, normal_prefix

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from ..config import ProxyTarget


class ProxyMiddleware:
    """Forward some paths and leave the others to the wrapped application.

    Args:
        app: The wrapped WSGI application.
        targets: The mapping of Werkzeug's `ProxyMiddleware`: a path prefix and its options `target`, `remove_prefix`, `host`,
            `headers` and `ssl_context` (`wsgi_proxy.config.ProxyTarget`), or the target alone; the longest prefix applies. Or the
            path of an nginx.conf, whose locations are forwarded.
        chunk_size: Accepted for compatibility with Werkzeug, without effect: blocks are as large as the upstream's writes.
        timeout: The time to connect, to send the next part of the request and to wait for the head of the response, in seconds.
            It limits neither the pauses of a stream nor an open WebSocket. An nginx.conf has its own times.

    Raises:
        ConfigError: An argument or option is unknown or has a wrong type or value, or the file has faults.
    """

    def __init__(
        self,
        app: WSGIApplication,
        targets: Mapping[str, ProxyTarget | str] | str | os.PathLike[str],
        chunk_size: int = 2 << 13,
        timeout: float = 10,
    ) -> None:
        if not callable(app):
            raise arguments.wrong("app", "a WSGI application is wanted", app)
        arguments.count(chunk_size, "chunk_size", 1)
        arguments.seconds(timeout, "timeout", positive=True)
        self.app = app
        self._prefixes: tuple[str, ...] | None = None
        if isinstance(targets, Mapping):
            self.proxy = ProxyApp(config_for_targets(targets, timeout))
            self._prefixes = tuple(normal_prefix(prefix) for prefix in targets)
        elif isinstance(targets, str | os.PathLike):
            self.proxy = ProxyApp.from_nginx(targets)
        else:
            raise arguments.wrong("targets", "a mapping of prefixes to targets, or the path of an nginx.conf, is wanted", targets)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return (self.proxy if self._covers(environ) else self.app)(environ, start_response)

    def close(self) -> None:
        """Close idle upstream connections."""
        self.proxy.close()

    def _covers(self, environ: WSGIEnvironment) -> bool:
        """Return True if the proxy answers this request."""
        if self._prefixes is None:
            return self._located(environ)
        try:
            path = resolved(environ.get("PATH_INFO", ""), MERGE_SLASHES)
        except ClientError:
            return False
        return path.startswith(self._prefixes)

    def _located(self, environ: WSGIEnvironment) -> bool:
        """Return True if a location, a redirect or an error of the configuration answers this request."""
        try:
            # A copy: the application gets its environ and its input unchanged.
            exchange = Exchange.from_environ({**environ, "wsgi.input": io.BytesIO()})
            self.proxy.router.choose_server(exchange)
            answered = self.proxy.router.route(exchange) is not None
        except ProxyError:
            return True
        return answered or exchange.location.kind != "server"
