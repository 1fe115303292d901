"""The proxy as a WSGI application: the one place where environ comes in and answers go out.

Rules:
- `ProxyApp` is all there is to a server: any WSGI server can run it (PEP 3333). Under ProxyWorker it gets the raw fields and
  the raw target, and hands out bodies that the worker can send without copying them.
- No fault becomes a traceback to a client: what rooms raise on purpose is already an answer; anything else is a 500 and a line
  in the log with its traceback.
- The body we return closes the Answer, settles what is still held, counts what went out, and writes the access log, once.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from mypy_extensions import mypyc_attr

from .. import nginx, proxy
from ..config import Config, locations_of
from ..errors import ClientGone, ConfigError, Fault, ProxyError, UpstreamError
from ..exchange import Exchange
from ..http import Pairs, status_line
from ..logs import AccessLogs, errorlog
from ..net import client_socket, reset
from ..proxy import standard_page
from ..response import FileBody, Response
from ..tunnel import Tunnelled, can_tunnel
from ..upstream import Pool
from .python_config import config_for_pool
from .warmup import warm_up

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_PYTHON_POOL = "pool"
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
        warm_up(self.config)

    @classmethod
    def from_nginx(cls, path: str | os.PathLike[str]) -> ProxyApp:
        """Return the application that a configuration file describes.

        Args:
            path: The path of the nginx.conf.

        Raises:
            ConfigError: The file has faults; each has its file and line.
        """
        return cls(nginx.load(os.fspath(path)))

    def takes_raw(self) -> bool:
        """Return True when a server that calls this object itself may hand over the raw request alone: nothing edits its environ.

        A subclass or an instrumentation with a `__call__` of its own may do so.
        """
        return type(self).__call__ is _CALL

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not self.upkeep.pid:
            self.upkeep.begin()
        try:
            x = Exchange.from_environ(environ)
        except ProxyError as error:
            return _refused(environ, start_response, error)
        return self.deliver(x, self.response(x), start_response)

    def response(self, exchange: Exchange) -> Response:
        """`respond`, and a 500 for a defect of ours."""
        try:
            return self.respond(exchange)
        except Exception:  # the edge of the house: nothing may reach the client as a traceback
            errorlog.logger.exception("defect while answering %s %s", exchange.method, exchange.target)
            response = standard_page(exchange, 500)
            exchange.status, exchange.response = 500, response
            return response

    def deliver(self, exchange: Exchange, response: Response, start_response: StartResponse) -> Iterable[bytes]:
        """Hand an answer to the server."""
        body = response.body
        delivery: _Delivery
        if response.status in (444, 499) and _hangs_up(exchange, response.status):
            return _HangUp(exchange, response, self)
        if exchange.method == "HEAD" or response.status in (204, 304):
            delivery = _Empty(exchange, response, self)
        elif isinstance(body, Tunnelled):
            delivery = _Delivery(exchange, response, self)
            response.body = body.run(exchange, response)  # the client's connection is a tunnel from here to its end
        elif isinstance(body, FileBody) and not exchange.added_trailers:
            delivery = _File(exchange, response, self)
        elif getattr(body, "spliceable", False) and not exchange.added_trailers:
            delivery = _Sending(exchange, response, self)
        else:
            delivery = _Delivery(exchange, response, self)
            if response.length is None and exchange.connection is not None:
                exchange.connection.trailers = delivery.trailers
        headers = response.headers
        if exchange.chunked and exchange.connection is None and not exchange.environ.get("wsgi.input_terminated"):
            headers = _without_length(headers)
        start_response(status_line(response.status, response.reason), headers)
        return delivery


_CALL: Any = ProxyApp.__call__


class _Delivery:
    """The body as the server iterates it; `close` ends the exchange."""

    __slots__ = ("_response", "_app", "_body", "_x")

    def __init__(self, exchange: Exchange, response: Response, app: ProxyApp) -> None:
        self._x = exchange
        self._response: Response | None = response
        self._body = response.body
        self._app = app

    def trailers(self) -> Pairs:
        """The upstream's trailer fields, as far as they may go on, and the location's own; once the body has ended."""
        x, response = self._x, self._response
        x.upstream_trailers = x.sent_trailers = getattr(response.source, "trailers", []) if response is not None else []
        if x.added_trailers:
            added = [(field.name, field.value(x)) for field in x.added_trailers]
            # What a variable holds may be the client's: a line end in it would begin an answer of its own.
            x.sent_trailers = x.sent_trailers + [pair for pair in added if pair[1] and not _LINE_END.search(pair[1])]
        return x.sent_trailers

    def ready(self) -> bool:
        """Whether the first block is at hand; else the head goes out without it."""
        ready = getattr(self._body, "ready", None)
        return ready is None or ready()

    def __iter__(self) -> Iterator[bytes]:
        x = self._x
        if x.connection is None and not self.ready():
            # An empty block lets a server send the head (PEP 3333); gunicorn does, so that events are not waited for without it.
            yield b""
        try:
            for block in self._body:
                x.body_bytes_sent += len(block)
                yield block
        except ProxyError as error:
            _note_cut(x, error)
            if x.connection is not None:
                raise  # the worker cuts the connection: what is short never looks complete
            if not x.body_bytes_sent:
                yield b""
            if (
                self._response is not None
                and self._response.length is None
                and x.protocol == "HTTP/1.0"
                and can_tunnel(x.environ)
            ):
                # The connection's end would look like the body's.
                reset(client_socket(x.environ))
            # Nothing that other servers would answer with a page of their own, or log as a defect of ours.
            raise ConnectionResetError(errno.ECONNRESET, str(error)) from error
        x.completed = True

    def at_hand(self) -> bytes | None:
        """The whole body of a known length, where it is one block that is here; else None. The worker asks once."""
        body = self._body
        if self._response is None or self._response.length is None:
            return None
        if type(body) is tuple:
            block = body[0] if len(body) == 1 else None
        else:
            take = getattr(body, "at_hand", None)
            block = take() if take is not None else None
        if block is not None:
            self._x.body_bytes_sent = len(block)
            self._x.completed = True
        return block

    def close(self) -> None:
        response, self._response = self._response, None
        if response is None:
            return
        x = self._x
        try:
            response.close()
        finally:
            if x.leases:
                for lease in x.leases:
                    lease.close()
            x.finished_at = time.time()
            self._app.metrics.record(x)
            self._app.logs.write(x)


def _hangs_up(exchange: Exchange, status: int) -> bool:
    """Whether the connection is closed without a word: where we may for 444, and behind a client that has left."""
    if status == 444:
        return can_tunnel(exchange.environ)
    return exchange.connection is not None and exchange.connection.gone


class _HangUp(_Delivery):
    """No answer at all (`return 444`, a client that left): the connection is closed. Each server has its own way to be told."""

    __slots__ = ()

    def __iter__(self) -> Iterator[bytes]:
        if self._x.connection is not None:
            raise ClientGone("closed without an answer")
        client_socket(self._x.environ).shutdown(socket.SHUT_RDWR)
        # gunicorn's workers and Werkzeug's server then find nobody to write to, and say nothing.
        raise StopIteration


class _Empty(_Delivery):
    """An answer whose body is not sent: HEAD, 204, 304."""

    __slots__ = ()

    def __iter__(self) -> Iterator[bytes]:
        self._x.completed = True
        return iter(())


class _Sending(_Delivery):
    """A body that can move itself to the client's stream."""

    __slots__ = ()

    def send_to(self, stream: Any) -> int:
        """Move the whole body to `stream`; gives the bytes moved. Raises when the upstream cut it short."""
        x = self._x
        try:
            sent: int = self._body.send_to(stream)  # type: ignore[attr-defined]
        except ProxyError as error:
            _note_cut(x, error)
            raise
        x.body_bytes_sent += sent
        x.completed = True
        return sent


class _File(_Delivery):
    """A part of a file, for the server's sendfile."""

    __slots__ = ("count", "file", "offset")

    def __init__(self, exchange: Exchange, response: Response, app: ProxyApp) -> None:
        super().__init__(exchange, response, app)
        body: FileBody = response.body  # type: ignore[assignment]
        self.file = body.file
        self.offset = body.offset
        self.count = body.count
        exchange.completed = True
        exchange.body_bytes_sent = body.count

    def __iter__(self) -> Iterator[bytes]:
        self._x.body_bytes_sent = 0
        return super().__iter__()


def _note_cut(exchange: Exchange, error: ProxyError) -> None:
    """Say in the log that an answer was cut short, by which server and why; a client that left is no fault of a server."""
    if isinstance(error, UpstreamError):
        errorlog.line("error", str(error), exchange, exchange.tries[-1].address if exchange.tries else exchange.upstream_name)
    else:
        errorlog.line("info", str(error), exchange)


def _refused(environ: WSGIEnvironment, start_response: StartResponse, error: ProxyError) -> Iterable[bytes]:
    """A request so wrong that there is no exchange."""
    from ..http import page

    body = page(error.status)
    errorlog.line("info", f"{error}, client: {environ.get('REMOTE_ADDR', '')}")
    headers = [("Content-Type", "text/html"), ("Content-Length", str(len(body)))]
    if environ.get("HTTP_TRANSFER_ENCODING") and not environ.get("wsgi.input_terminated"):
        start_response(status_line(error.status), _without_length(headers))
        return iter((body,))
    start_response(status_line(error.status), headers)
    return [body]


def _without_length(headers: Pairs) -> Pairs:
    """Leave out Content-Length, so that a server that did not read the request's chunks closes the connection behind the answer.

    A server that keeps it would take the chunks for the next request (Django's runserver does); an application may not set
    Connection (PEP 3333).
    """
    return [pair for pair in headers if pair[0].lower() != "content-length"]


Proxy = ProxyApp


def configuration_path() -> str:
    """Where `app` reads its configuration: WSGI_PROXY_CONFIG, else ./nginx.conf. ConfigError when there is neither."""
    path = os.environ.get("WSGI_PROXY_CONFIG", "")
    if path:
        return path
    if os.path.exists("nginx.conf"):
        return "nginx.conf"
    raise ConfigError(Fault("no configuration: set WSGI_PROXY_CONFIG to an nginx.conf, or put one into the working folder"))


def _place_log(config: Config) -> None:
    """Where the proxy is the whole application, what `error_log` says holds. ConfigError when a file cannot be opened."""
    places = {location.core.error_log for location in locations_of(config) if location.core.error_log is not None}
    if not config.main.error_log and not places:
        return
    try:
        errorlog.setup(config.main.error_log, config.prefix, places)
    except OSError as error:
        raise ConfigError(Fault(f'open() "{os.fsdecode(error.filename)}" failed ({error.errno}: {error.strerror})')) from error


def make_app() -> ProxyApp:
    """The package's `app`, made when a server first asks for it."""
    config = nginx.load(configuration_path())
    _place_log(config)
    return ProxyApp(config)
