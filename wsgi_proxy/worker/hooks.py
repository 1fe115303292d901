"""gunicorn's hooks around a request, and its access log.

Rules:
- Without a hook, an access log or a logger with its own `access`, nothing is called for a request.
- A hook gets the request that gunicorn's parser would have made. Changes by `pre_request` reach the application's environ.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from gunicorn.config import Config
from gunicorn.glogging import Logger

from ..http import client_options, environ_key, field_values
from .response import ResponseWriter
from .service import Hooks

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from .link import Link
    from .worker import ProxyWorker


class GunicornHooks(Hooks):
    """gunicorn's pre_request and post_request hooks and its access log; inactive if none is used."""

    def __init__(self, worker: ProxyWorker) -> None:
        super().__init__()
        self._worker = worker
        # A logger that has its own `access`, such as gunicorn's for statsd, is called for every request.
        own_access = getattr(type(worker.log), "access", None) is not Logger.access
        self._logs = bool(worker.log.access_log_enabled or own_access)
        cfg = worker.cfg
        self._pre = _unless_default(cfg, "pre_request")
        self._post = _unless_default(cfg, "post_request")
        self.active = bool(self._logs or self._pre or self._post)

    def before(self, connection: Link, environ: WSGIEnvironment) -> Any:
        started = datetime.now()
        request = GunicornRequest(connection, environ)
        if self._pre is not None:
            parsed = request.parsed()
            self._pre(self._worker, request)
            if request.parsed() != parsed:
                request.change(environ)
        return request, started

    def after(self, token: Any, environ: WSGIEnvironment, response: ResponseWriter) -> None:
        request, started = token
        if self._logs and response.status:
            took: timedelta = datetime.now() - started
            self._worker.log.access(response, request, environ, took)
        if self._post is not None:
            try:
                self._post(self._worker, request, environ, response)
            except Exception:
                self._worker.log.exception("Exception in post_request hook")


def _unless_default(cfg: Config, name: str) -> Any:
    """Return the hook of a setting; None for gunicorn's default, which does nothing useful."""
    setting = cfg.settings[name]
    hook = setting.get()
    return None if hook is setting.default else hook


class GunicornRequest:
    """A request with the attributes that gunicorn's hooks and access log read."""

    __slots__ = ("body", "headers", "method", "path", "proxy_protocol_info", "query", "scheme", "trailers", "uri", "version")

    def __init__(self, connection: Link, environ: WSGIEnvironment) -> None:
        head = connection.head
        assert head is not None
        rules, trusted = connection.listener.settings.rules, connection.trusted
        self.method = head.method
        self.uri = head.target
        self.path, _, self.query = head.uri.partition("?")
        self.version = head.version
        fields = [(name.upper(), value) for name, value in head.pairs]
        self.headers = [
            field for field in fields if "_" not in field[0] or (rules is not None and rules.keeps(field[0], trusted))
        ]
        self.scheme: str = environ["wsgi.url_scheme"]
        self.body = connection.body
        self.trailers: list[tuple[str, str]] = []
        self.proxy_protocol_info = connection.proxy_protocol

    def parsed(self) -> tuple[object, ...]:
        """Return the values that `pre_request` may change and the environ is made of."""
        return self.method, self.uri, self.path, self.query, self.scheme, self.body, tuple(self.headers)

    def change(self, environ: WSGIEnvironment) -> None:
        """Update the environ as gunicorn does after `pre_request`."""
        pairs: list[tuple[str, str]] = environ["wsgi_proxy.pairs"]
        spelled = {(name.upper(), value): name for name, value in pairs}
        environ["wsgi_proxy.pairs"] = [(spelled.get((name, value), name.title()), value) for name, value in self.headers]
        keys = [key for key in environ if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH")]
        sent = {key: environ.pop(key) for key in keys}
        for name, value in self.headers:
            key = environ_key(name.upper())
            separator = "; " if key == "HTTP_COOKIE" else ", "
            environ[key] = f"{environ[key]}{separator}{value}" if key in environ else value
        if "HTTP_CONNECTION" in environ:
            environ["HTTP_CONNECTION"] = client_options(environ, sent)
        environ["wsgi_proxy.keys"] = field_values(environ)
        environ["REQUEST_METHOD"] = self.method
        environ["RAW_URI"] = self.uri
        environ["QUERY_STRING"] = self.query
        environ["wsgi.url_scheme"] = self.scheme
        environ["wsgi.input"] = self.body
        script = environ["SCRIPT_NAME"]
        environ["PATH_INFO"] = unquote_to_bytes(self.path.removeprefix(script)).decode("latin-1")
