"""Exchange: one request and the record of every decision about it.

Rules:
- Every decision of the request path is written here when it is made. Logs, variables, metrics, the status page and `explain` read
  this record, and no package reports twice.
- `phases.PHASES` lists the attributes by the phase that writes them, with the packages of that phase.
- Text is a str in which each character is one byte (latin-1), as in WSGI. The configuration's text is converted when it is read.
- An attribute that most requests never touch has its default on the class: an Exchange costs only the attributes it uses.
- `pairs` are the request's fields as the client sent them: order, case and repetitions. `environ` serves for look-ups.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

from .arrival import ClientRequest, take_environ, take_raw
from .clocks import wall_time
from .config import parse_size
from .http import METHOD, Pairs
from .phases import RECORD

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from .config import AddHeader, Location, ServerBlock
    from .response import Attempt, Response

NO_PAIRS: Final[Pairs] = []  # shared, never changed


class Exchange(ClientRequest):
    """One request and the record of every decision about it. `from_environ` makes it of a WSGI environ."""

    # Arrival: `from_environ`. `set_real_ip_from` and `client_max_body_size` replace the client's address and the input.
    method = "GET"
    target = "/"
    """The request target in origin form, otherwise untouched (nginx's $request_uri). The target of a CONNECT is `host:port`."""
    raw_target = "/"
    """The target as the client sent it, absolute form included (nginx's $request)."""
    protocol = "HTTP/1.0"
    scheme = "http"
    pairs: Pairs
    remote_addr = ""
    """The client's address; `set_real_ip_from` replaces it."""
    remote_port = ""
    peer_addr = ""
    """The address of the connection's peer, which no field changes (nginx's $realip_remote_addr)."""
    trusted_peer = False
    """True if `set_real_ip_from` trusts the peer's address; its X-Forwarded fields are then passed on."""
    absolute = ""
    """The scheme of a target in absolute form, as a forward proxy gets it; else empty."""
    content_length: int | None = None
    """Bytes of the request's body; None without a body and for a chunked one."""
    chunked = False
    input: Any = None
    """The request's body: `read(n)` returns at most n bytes, b"" at the end."""
    connection: Any = None
    """The client's connection under ProxyWorker, else None."""

    # Routing. `server` and `location` are None before it; `site` (`router.Site`) and `compiled`
    # (`proxy.location.CompiledLocation`) are made of them at the start.
    host = ""
    """nginx's $host: the request's host in lower case without its port, else the server's name."""
    host_given = False
    """The client sent a valid Host; without one `host` is the server's name."""
    uri = "/"
    args = ""
    server: ServerBlock = None  # type: ignore[assignment]
    site: Any = None
    location: Location = None  # type: ignore[assignment]
    compiled: Any = None
    underscored = False
    """A field's name has an underscore that the server block allows: $http_* then look at the fields themselves."""
    captures: tuple[str | None, ...] = ()
    """$0 is captures[0], $1 captures[1]… of the last regular expression that matched."""
    variables: dict[str, str]
    """Values given by `set`, named captures, `auth_request_set` and `map`, by name."""
    internal = False
    redirects = 0
    """Internal redirects so far; more than ten are an error, as in nginx."""
    uri_changed = False
    """A rewrite, a try_files or an error page changed `uri`: the upstream then gets `uri` instead of the raw target."""
    behind_alias = False
    """`uri` is a candidate of `try_files` that follows the `alias` of a regular expression (nginx's add_uri_to_alias)."""
    rewritten_in_place = False
    """`rewrite … break` changed `uri` in its location: the URI of `proxy_pass` is then left out (nginx's !valid_location)."""
    relocate = False
    """A rewrite changed `uri`: the location is searched again."""
    named_location = False
    prefix = ""
    """The directory that relative paths of the configuration start from (-p)."""

    # Access.
    remote_user = ""
    limit_req_status = ""
    limit_conn_status = ""

    # Cache.
    cache_status = ""
    cache_key = ""
    update: Any = None
    """An event that is set at the end of the background update that the request began; None without one."""
    slice_range = ""
    """The range of the part that is asked for under `slice`."""

    # Upstream.
    tried: set[Any] | None = None
    """The peers already tried; kept by the pool."""
    tries: list[Attempt]
    proxy_host = ""
    proxy_port = ""
    upstream_name = ""
    upstream_pairs: Pairs
    """The fields of the last upstream response, for $upstream_http_*."""
    upgrade = ""
    """The protocol that the upstream was asked to upgrade to, on the client's behalf."""
    upload: Any = None
    """The part of the body taken for an upstream (`request_body.Upload`); an internal redirect sends it again."""
    body_dropped = False
    """The request goes on without its body, and $content_length is empty."""
    body_bytes_received = 0
    request_body: bytes | None = None
    """The whole body if it was read into memory ($request_body)."""
    request_body_file = ""
    """The path of the body's file under `client_body_in_file_only`."""

    # Internal redirects.
    main: Exchange | None = None
    """The client's request, if this one is a subrequest for it."""
    subrequest = False
    """A request of the proxy on behalf of another one, which has passed the access phase for both."""
    background = False
    """A subrequest that goes on when the client leaves."""
    fields_only = False
    """Only the response's status and fields are used (auth_request)."""
    depth = 0
    """The number of requests around a subrequest."""
    error_status = 0
    """The status for which an error page is being made."""
    error_type = ""
    """The error type of Proxy-Status for the fault that ended the request (`ProxyError.error_type`)."""
    error_page_made = False
    """The request has had its error page, and every further status gets the standard one."""
    error_response = 0
    """The status that this page gets instead; 0 for the page's own status."""
    content_type = ""
    """The Content-Type that an application sent along with X-Accel-Redirect."""
    kept: Pairs = NO_PAIRS
    """The other fields of the application that X-Accel-Redirect keeps."""

    # Response and delivery.
    response: Response | None = None
    status = 0
    added_trailers: tuple[AddHeader, ...] = ()
    body_bytes_sent = 0
    upstream_trailers: Pairs
    sent_trailers: Pairs
    completed = False
    """The whole response was delivered (nginx's $request_completion)."""
    finished_at = 0.0
    varies = False
    """The client's Accept-Encoding had a part in the choice of a file (`gzip_static`, `brotli_static`)."""
    gzip_sizes: tuple[int, int] | None = None
    """The bytes of the body before and after `gzip`, once it is compressed ($gzip_ratio)."""

    # Any phase.
    metrics: Any = None
    """The counters of the proxy (`status.Metrics`), for $connections_*."""
    leases: list[Any] | None = None
    """Objects to close when the exchange ends, however it ends: the counts of limit_conn, the upload."""
    limit_rate: int | None = None
    request_id_value = ""
    trace_context: Any = None
    """The identifiers of `otel_trace_context` (`tracing.context.TraceContext`), once something has asked for them."""
    page: Any = None
    """The variables and blocks of Server Side Includes, shared with subrequests (`filters.ssi.page.Page`)."""
    subrequests: Any = None
    """Answers subrequests (`proxy.subrequests.Subrequests`), for the filters of bodies."""
    user_id: Any = None
    """The identifiers of the `userid` cookie (`variables.userid.UserID`), once they are asked for."""
    trace: list[tuple[str, str]] | None = None
    """(package, sentence) for each decision, if `explain` asked for it."""

    def __init__(self) -> None:
        self.started = wall_time()
        self.variables = {}
        self.tries = []
        self.pairs = self.upstream_pairs = self.upstream_trailers = self.sent_trailers = NO_PAIRS

    @staticmethod
    def from_environ(environ: WSGIEnvironment) -> Exchange:
        """Return the exchange of a WSGI environ. Raises ClientError for a request that has no single reading."""
        exchange = Exchange()
        exchange.environ = environ
        get = environ.get
        exchange.method = environ["REQUEST_METHOD"]
        exchange.protocol = get("SERVER_PROTOCOL", "HTTP/1.0")
        exchange.scheme = get("wsgi.url_scheme", "http")
        exchange.remote_addr = exchange.peer_addr = get("REMOTE_ADDR") or ""
        # Some servers give a number (Werkzeug), PEP 3333 asks for a string.
        exchange.remote_port = str(get("REMOTE_PORT") or "")
        exchange.input = environ["wsgi.input"]
        pairs = get("wsgi_proxy.pairs")
        sent = get("wsgi_proxy.keys")
        if pairs is not None:
            exchange.connection = get("wsgi_proxy.connection")
        if pairs is not None and sent is None:
            # ProxyWorker calls the application itself: no middleware has changed its environ.
            take_raw(exchange, pairs)
        else:
            take_environ(exchange, pairs, sent)
        return exchange

    @staticmethod
    def refused(environ: WSGIEnvironment) -> Exchange:
        """Return an exchange for the response to a malformed request: of the request it has the line for the log, and no fields.

        Nothing of the request can reach an upstream: its target is `/`, and it has no body. `host` is its first Host, unchecked,
        for the choice of the server block.
        """
        exchange = Exchange()
        exchange.environ = {key: value for key, value in environ.items() if key[:5] != "HTTP_" and key[:8] != "CONTENT_"}
        method = environ.get("REQUEST_METHOD", "")
        exchange.method = method if method != "CONNECT" and METHOD.fullmatch(method) else "GET"
        exchange.protocol = environ.get("SERVER_PROTOCOL", "HTTP/1.0")
        exchange.scheme = environ.get("wsgi.url_scheme", "http")
        exchange.remote_addr = exchange.peer_addr = environ.get("REMOTE_ADDR") or ""
        exchange.remote_port = str(environ.get("REMOTE_PORT") or "")
        exchange.raw_target = environ.get("RAW_URI") or "/"
        exchange.host = environ.get("HTTP_HOST", "").partition(",")[0]
        exchange.input = io.BytesIO()
        if "wsgi_proxy.pairs" in environ:
            exchange.connection = environ.get("wsgi_proxy.connection")
        return exchange

    @property
    def location_or_none(self) -> Location | None:
        """The location; None if the request failed before routing."""
        return self.location

    @property
    def proxy_protocol(self) -> tuple[str, str, str, str] | None:
        """(client address, client port, server address, server port) of the connection's PROXY protocol line."""
        found = getattr(self.connection, "proxy_protocol", None)
        return (found[0], str(found[1]), found[2], str(found[3])) if found else None

    @property
    def has_body(self) -> bool:
        return self.chunked or bool(self.content_length)

    def leave_body(self, environ: WSGIEnvironment) -> None:
        """Note that a refused request may have a chunked body, which the server has not decoded."""
        self.chunked = "HTTP_TRANSFER_ENCODING" in environ

    def assign(self, name: str, value: str) -> None:
        """Set a variable as `set` and `auth_request_set` do; $args and $limit_rate change the request itself."""
        if name == "args":
            self.args = value
            self.uri_changed = True
        elif name == "limit_rate":
            self.limit_rate = parse_size(value)
        else:
            self.variables[name] = value

    def drop_body(self) -> None:
        """Go on as a request without a body, after the body was refused, found broken, or left unread by an upstream."""
        self.body_dropped = True
        self.content_length, self.chunked, self.upload, self.request_body = None, False, None, None

    def header(self, name: str) -> str:
        """Return the request's field of that name, repetitions joined by a comma; "" if there is none."""
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
        return self.sent(key) or ""

    def copy(self) -> Exchange:
        """Return a second record with the same values; lists and dictionaries in it are shared."""
        other = Exchange()
        for name in RECORD:
            setattr(other, name, getattr(self, name))
        return other

    def why(self, package: str, sentence: str) -> None:
        """Note a decision for `explain`; call it only under `if exchange.trace is not None`."""
        if self.trace is not None:
            self.trace.append((package, sentence))
