"""The proxy as a WSGI application, and the application of the environment (`wsgi_proxy:app`).

Rules:
- Any WSGI server can run `ProxyApp` (PEP 3333). Under ProxyWorker it gets the raw fields and the raw target, and returns bodies
  that the worker can send without copying them.
- No client sees a traceback. A ProxyError becomes a response in the request path; any other exception is a 500, and its traceback
  goes to the error log.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import mypyc_attr

from .. import nginx, proxy
from ..config import Config, CoreSettings, arguments, locations_of
from ..errors import ConfigError, Fault, ProxyError
from ..exchange import Exchange
from ..http import Pairs, pages, status_line
from ..logs import AccessLogs, errorlog
from ..proxy import run_post_action, standard_page
from ..response import Response
from ..shm import forked_without_exec
from ..tracing import Spans
from ..upstream import Pool
from .arrival import take_request
from .delivery import HangUp, delivery_of
from .python_config import config_for_pool
from .upkeep import Upkeep
from .warmup import warm_up

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from ..worker import Link, ResponseWriter

_PYTHON_POOL: Final = "pool"
_LONGEST_UPDATE: Final = 1.0
"""Seconds that the end of a connection waits for a background update."""
_LINE_END = re.compile(r"[\r\n\0]")


@mypyc_attr(allow_interpreted_subclasses=True)
class ProxyApp(proxy.Proxy):
    """A WSGI application that forwards every request.

    Args:
        source: The pool of servers to forward to, or a whole configuration. Use `from_nginx` for the path of a file.

    Raises:
        TypeError: `source` is something else.
        ConfigError: The configuration cannot be used.

    Examples:
        >>> app = Proxy(Pool(["http://127.0.0.1:3000", "http://127.0.0.1:3001"], policy="least_conn"))  # doctest: +SKIP
    """

    def __init__(self, source: Config | Pool) -> None:
        if isinstance(source, Pool):
            super().__init__(config_for_pool(_PYTHON_POOL, source.scheme, source.tls), {_PYTHON_POOL: source})
        elif isinstance(source, Config):
            super().__init__(source)
        else:
            raise TypeError(f"Proxy takes a Pool or a Config, not {source!r}; Proxy.from_nginx takes the path of an nginx.conf")
        self.logs = AccessLogs(self.config)
        self.spans = None if self.config.otel is None else Spans(self.config.otel)
        chores = [self.transport.sweep, self.status.history.tick]
        if self.targets.renews:
            chores.append(self.targets.renew)
        if self.config.cache_zones:
            chores.append(self.cache.sweep)
        if self.logs.buffered:
            chores.append(self.logs.flush_due)
        self.upkeep = Upkeep(chores)
        self._begun = False
        warm_up(self.config)
        if forked_without_exec():
            # In a worker: the addresses of names are fresh at its first request, too, and the cluster knows its machine.
            if self.targets.renews:
                self.upkeep.begin()
            if self.membership is not None:
                self.membership.begin()

    @classmethod
    def from_nginx(cls, path: str | os.PathLike[str]) -> ProxyApp:
        """Return the application that a configuration file describes.

        Args:
            path: The path of the nginx.conf.

        Raises:
            ConfigError: The file has faults; each has its file and line. Or `path` is no path.
        """
        if not isinstance(path, str | os.PathLike):
            raise arguments.wrong("path", "the path of an nginx.conf is wanted", path)
        return cls(nginx.load(os.fspath(path)))

    def close(self) -> None:
        """Stop the upkeep, write the buffered logs, and close idle upstream connections and the cache's files."""
        self.upkeep.stop()
        self._begun = False
        self.logs.flush()
        if self.spans is not None:
            self.spans.close()
        super().close()

    def takes_raw(self) -> bool:
        """Return True if nothing edits the environ between the server and this object, so that the raw request is enough.

        A subclass or an instrumentation that replaces `__call__` may edit it.
        """
        return type(self).__call__ is _CALL

    def server_name(self) -> str:
        """Return the value of Server in ProxyWorker's responses: by `server_tokens` under an nginx.conf, else the name alone."""
        return pages.product(self.config.core if self.config.path else CoreSettings(server_tokens="off"))

    def count_for(self, service: Any) -> None:
        """Let ProxyWorker's `Service` count connections where the workers share their counts."""
        self.metrics.count_for(service)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request (PEP 3333)."""
        if not self._begun:
            self._begin(environ.get("wsgi_proxy.connection"))
        try:
            exchange = Exchange.from_environ(environ)
        except ProxyError as error:
            return self.respond_refused(environ, start_response, error)
        if exchange.connection is None:
            self.metrics.started()
        return self.deliver(exchange, self.response(exchange), start_response)

    def answer(self, link: Link, writer: ResponseWriter) -> Iterable[bytes]:
        """Answer a request that ProxyWorker has read from HTTP/1, without an environ (`Service.lean`)."""
        if not self._begun:
            self._begin(link)
        exchange = Exchange()
        try:
            take_request(exchange, link, writer)
        except ProxyError as error:
            return self.respond_refused(writer.environ(), writer.start_response, error)
        return self.deliver(exchange, self.response(exchange), writer.start_response)

    def _begin(self, link: Link | None) -> None:
        """Start what runs beside the requests; `link` is the client's connection under ProxyWorker."""
        self._begun = True
        self.upkeep.begin()
        if self.membership is not None:
            self.membership.begin()
        if link is not None:
            self.count_for(link.service)

    def respond_refused(self, environ: WSGIEnvironment, start_response: StartResponse, error: ProxyError) -> Iterable[bytes]:
        """Answer a request that is too malformed for an exchange; `error` says why. ProxyWorker calls it, too."""
        exchange = Exchange.refused(environ)
        if exchange.connection is None:
            self.metrics.started()
        response = self.response(exchange, error)
        exchange.leave_body(environ)
        return self.deliver(exchange, response, start_response)

    def response(self, exchange: Exchange, error: ProxyError | None = None) -> Response:
        """Return the response of `respond`, that of `refuse` if there is an `error`, or a 500 for a defect of the proxy."""
        try:
            return self.respond(exchange) if error is None else self.refuse(exchange, error)
        except Exception:  # the outermost frame of the application: the client gets a 500, not a traceback
            errorlog.logger.exception("defect while answering %s %s", exchange.method, exchange.target)
            response = standard_page(exchange, 500)
            exchange.status, exchange.response = 500, response
            return response

    def deliver(self, exchange: Exchange, response: Response, start_response: StartResponse) -> Iterable[bytes]:
        """Return the body for the server, after `start_response`."""
        delivery = delivery_of(exchange, response, self._ended)
        if not isinstance(delivery, HangUp):
            headers = response.headers
            if exchange.chunked and exchange.connection is None and not exchange.environ.get("wsgi.input_terminated"):
                headers = _without_length(headers)
            start_response(status_line(response.status, response.reason), headers)
        return delivery

    def _ended(self, exchange: Exchange) -> None:
        """Count and log an exchange that has ended."""
        self.metrics.record(exchange)
        self.logs.write(exchange)
        if self.spans is not None and exchange.trace_context is not None:
            self.spans.ended(exchange)
        run_post_action(self.subrequests, exchange)
        if exchange.update is not None:
            await_update(exchange)


_CALL: Final[Any] = ProxyApp.__call__


def await_update(exchange: Exchange) -> None:
    """Wait for the background update that a request began, if its connection ends with it.

    The client has its response. As in nginx, a client that waits for the end of the connection finds the entry updated.
    """
    link = exchange.connection
    if link is not None and link.head is not None and not link.head.keep_alive and exchange.protocol.startswith("HTTP/1"):
        exchange.update.wait(_LONGEST_UPDATE)


def _without_length(headers: Pairs) -> Pairs:
    """Leave out Content-Length, so that a server that did not read the request's chunks closes the connection after the response.

    A server that keeps the connection takes the chunks for the next request (Django's runserver does), and an application may not
    set Connection (PEP 3333).
    """
    return [pair for pair in headers if pair[0].lower() != "content-length"]


Proxy = ProxyApp


def configuration_path() -> str:
    """Return the path of the configuration: WSGI_PROXY_CONFIG, else ./nginx.conf. Raises ConfigError without either."""
    path = os.environ.get("WSGI_PROXY_CONFIG", "")
    if path:
        return path
    if os.path.exists("nginx.conf"):
        return "nginx.conf"
    raise ConfigError(Fault("no configuration: set WSGI_PROXY_CONFIG to an nginx.conf, or put one into the working directory"))


def _place_log(config: Config) -> None:
    """Apply `error_log`, for the proxy is the whole application. Raises ConfigError if a file cannot be opened."""
    places = {location.core.error_log for location in locations_of(config) if location.core.error_log is not None}
    if not config.main.error_log and not places:
        return
    try:
        errorlog.setup(config.main.error_log, config.prefix, places)
    except OSError as error:
        raise ConfigError(Fault(f'open() "{os.fsdecode(error.filename)}" failed ({error.errno}: {error.strerror})')) from error


def make_app() -> ProxyApp:
    """Return the application of the environment (`wsgi_proxy:app`), made at its first use."""
    config = nginx.load(configuration_path())
    _place_log(config)
    return ProxyApp(config)
