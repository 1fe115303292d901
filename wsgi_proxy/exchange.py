"""Exchange: one request's life, and the record of what was decided about it. Answer: what goes back.

Rules:
- Everything the hallway decides is written here as it is decided; logs, variables, metrics, the status page and `explain` read
  this one record, and no room reports twice.
- Text is WSGI's own form: str in which each character is one byte (latin-1). The configuration's text is brought into the same
  form when it is read.
- An attribute that most requests never touch has its default on the class: an Exchange costs only what it uses.
- `pairs` are the request's fields as they came: order, case and repetitions. `environ`'s `HTTP_*` keys serve for look-ups.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .errors import ClientError
from .http import UnreadableInput, agreed_pairs, agreed_target, check_fields, check_target, content_length, pairs_of

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from .config import AddHeader, Location, ServerBlock

Pairs = list[tuple[str, str]]

NO_PAIRS: Pairs = []
"""Shared by all who have none; never changed."""


class Attempt:
    """One attempt at an upstream. Times are seconds since the attempt began; None where it did not come so far."""

    __slots__ = (
        "address",
        "bytes_received",
        "bytes_sent",
        "connect_time",
        "error",
        "header_time",
        "response_length",
        "response_time",
        "started",
        "status",
    )

    def __init__(self, address: str) -> None:
        self.address = address
        self.started = time.time()
        self.status = 0
        self.error = ""
        self.connect_time: float | None = None
        self.header_time: float | None = None
        self.response_time: float | None = None
        self.bytes_sent = 0
        self.bytes_received = 0
        self.response_length = 0
        """Bytes of the answer's body, without its framing."""


class Exchange:
    """One request and all that became of it."""

    # What the client sent.
    environ: WSGIEnvironment
    method: str
    target: str
    """The request's target in origin form, otherwise untouched (nginx's $request_uri); a CONNECT's is `host:port`."""
    raw_target: str
    """The target as it came, absolute form included (nginx's $request)."""
    protocol: str
    scheme: str
    pairs: Pairs
    remote_addr: str
    """The client's address; real-ip replaces it."""
    remote_port: str
    absolute = ""
    """The scheme of a target in absolute form, as a forward proxy gets it; else empty."""
    content_length: int | None = None
    """Bytes of the request's body; None when it has none or is chunked."""
    chunked = False
    input: Any
    """The request's body: `read(n)` gives at most n bytes, b"" at the end."""
    connection: Any = None
    """The worker's connection when ProxyWorker serves us (see worker.py), else None."""
    trusted_peer = False
    """The connection comes from an address that `set_real_ip_from` trusts: its X-Forwarded fields are believed."""
    upgrade = ""
    """The protocol that the upstream was asked to upgrade to, on the client's behalf."""
    peer_addr: str
    """The connection's own address, which no header changes (nginx's $realip_remote_addr)."""

    # Where it goes: set by routing; `server` and `location` are None before it.
    host = ""
    """nginx's $host: the request's host, lower case, without port; else the server's name."""
    uri = "/"
    args = ""
    server: ServerBlock = None  # type: ignore[assignment]
    location: Location = None  # type: ignore[assignment]
    server_captures: tuple[tuple[str | None, ...], dict[str, str]] | None = None
    captures: tuple[str | None, ...] = ()
    """$0 is captures[0], $1 captures[1]… of the last regular expression that matched."""
    variables: dict[str, str]
    """What `set`, named captures, `auth_request_set` and `map` (by name) gave; empty until one does."""
    internal = False
    subrequest = False
    """A request of our own on behalf of another, which was let in with it."""
    redirects = 0
    """Internal redirects so far; more than ten are an error, as in nginx."""
    uri_changed = False
    """A rewrite, a try_files or an error page changed `uri`: the upstream then gets it instead of the raw target."""
    rewritten_in_place = False
    """`rewrite … break` changed `uri` in its location: the URI of `proxy_pass` is then left out (nginx's !valid_location)."""
    relocate = False
    """A rewrite changed `uri`: the location is looked for again."""
    error_status = 0
    """The status for which an error page is being made."""
    error_response = 0
    """The status that this page is to have; 0: its own."""
    named_location = False
    limit_rate: int | None = None
    content_type = ""
    """The Content-Type that an application gave along with X-Accel-Redirect."""
    kept: Pairs = NO_PAIRS
    """The application's other fields that X-Accel-Redirect keeps."""

    # What became of it: set by the hallway.
    tried: set[Any] | None = None
    """Peers already tried; kept by the pool."""
    tries: list[Attempt]
    proxy_host = ""
    proxy_port = ""
    status = 0
    body_bytes_sent = 0
    bytes_sent = 0
    response: Response | None = None
    upstream_pairs: Pairs
    """The last upstream answer's fields, for $upstream_http_*."""
    upstream_trailers: Pairs
    upstream_name = ""
    cache_status = ""
    cache_key = ""
    remote_user = ""
    limit_req_status = ""
    limit_conn_status = ""
    completed = False
    """The whole answer was delivered (nginx's $request_completion)."""
    finished_at = 0.0
    leases: list[Any] | None = None
    """Things to release when the exchange ends, whatever happens: limit_conn's counts."""
    request_id_value = ""
    request_body: bytes | None = None
    """The whole body, when it was read into memory ($request_body)."""
    request_body_file = ""
    upload: Any = None
    """The body as far as it was taken for an upstream (upload.Upload); a redirect within sends it again."""
    body_bytes_received = 0
    """Bytes of the request's body read so far."""
    sent_trailers: Pairs
    added_trailers: tuple[AddHeader, ...] = ()
    """The location's `add_trailer`, where this answer gets them."""
    prefix = ""
    """The folder that relative paths of the configuration start from (-p)."""
    trace: list[tuple[str, str]] | None = None
    """(room, sentence) for each decision, when someone asked why."""

    def __init__(self, environ: WSGIEnvironment) -> None:
        self.environ = environ
        self.started = time.time()
        get = environ.get
        self.method = environ["REQUEST_METHOD"]
        self.protocol = get("SERVER_PROTOCOL", "HTTP/1.0")
        self.scheme = get("wsgi.url_scheme", "http")
        self.remote_addr = self.peer_addr = get("REMOTE_ADDR") or ""
        # Some servers give a number (Werkzeug), PEP 3333 asks for a string.
        self.remote_port = str(get("REMOTE_PORT") or "")
        self.input = environ["wsgi.input"]
        self.variables = {}
        self.tries = []
        self.upstream_pairs = self.upstream_trailers = self.sent_trailers = NO_PAIRS
        pairs = get("wsgi_proxy.pairs")
        sent = get("wsgi_proxy.keys")
        if pairs is not None:
            self.connection = get("wsgi_proxy.connection")
        if pairs is not None and sent is None:
            # ProxyWorker calls us itself: nothing has changed its environ.
            self._take_raw(pairs)
        else:
            self._take_environ(get("wsgi_proxy.fields") if pairs is None else pairs, sent)

    def _take_raw(self, pairs: Pairs) -> None:
        """Take the request as the worker read it."""
        environ = self.environ
        self.pairs = pairs
        self.target = self.raw_target = environ["RAW_URI"]
        if self.target[:1] != "/":
            self._take_other_form(True)
        if environ.get("SCRIPT_NAME"):
            self.target = agreed_target(environ, self.target)
        length = environ.get("CONTENT_LENGTH")
        if length:
            self.content_length = int(length)
        elif "HTTP_TRANSFER_ENCODING" in environ:
            self.chunked = True

    def _take_environ(self, pairs: Pairs | None, sent: Mapping[str, str] | None) -> None:
        """Take the request as the environ has it, and of the raw one as much as agrees with that.

        `pairs` are the raw fields, `sent` the keys that the server made of them; both None where it hands over none.
        """
        environ = self.environ
        raw: str = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
        check_target(self.method, raw.replace(" ", "") or "/", self.protocol)
        self.raw_target = self.target = raw
        if raw[:1] != "/":
            self._take_other_form(sent is None or environ.get("HTTP_HOST") == sent.get("HTTP_HOST"))
        if self.target[:1] in "/" or self.method != ("OPTIONS" if self.target == "*" else "CONNECT"):
            self.target = agreed_target(environ, self.target)
            self.raw_target = raw or self.target
        if pairs is None or sent is None:
            self.pairs = pairs or pairs_of(environ)
        else:
            self.pairs = agreed_pairs(environ, pairs, sent)
        check_fields(environ)
        self.content_length = content_length(environ)
        if self.content_length is None:
            if "HTTP_TRANSFER_ENCODING" in environ:
                self.chunked = True
                if not environ.get("wsgi.input_terminated"):
                    self.input = UnreadableInput()
            elif self.protocol.startswith("HTTP/2"):
                self._look_for_body()

    def _look_for_body(self) -> None:
        """HTTP/2 needs no length for a body (RFC 9113, 8.1): there is one when its first byte comes, and it ends by itself."""
        first = self.input.read(1)
        if first:
            self.input = BegunInput(first, self.input)
            self.chunked = True

    def _take_other_form(self, authoritative: bool) -> None:
        """Take absolute form and CONNECT's; `*` stays as it is.

        The authority is the host, whatever Host says (RFC 9112, section 3.2.2), unless a middleware named another: then it is not
        `authoritative`.
        """
        if self.method == "CONNECT":
            if authoritative:
                self.environ["HTTP_HOST"] = self.target
            return
        scheme, colon, rest = self.target.partition("://")
        if not colon:
            return
        cut = len(rest)
        for mark in "/?#":
            at = rest.find(mark)
            if at >= 0:
                cut = min(cut, at)
        authority, self.target = rest[:cut], rest[cut:]
        if self.target[:1] != "/":
            self.target = "/" + self.target
        if not authority or "@" in authority:
            raise ClientError("invalid authority in the request's target")
        self.absolute = scheme.lower()
        if authoritative:
            self.environ["HTTP_HOST"] = authority

    @property
    def location_or_none(self) -> Location | None:
        """The location, None when the fault came before routing."""
        return self.location

    @property
    def carrier(self) -> Any:
        """The worker's connection, also where it carries other requests beside this one (HTTP/2); None under other servers."""
        return self.connection if self.connection is not None else self.environ.get("wsgi_proxy.carrier")

    @property
    def proxy_protocol(self) -> tuple[str, str, str, str] | None:
        """(client address, client port, server address, server port) of the connection's PROXY protocol line."""
        found = getattr(self.carrier, "proxy_protocol", None)
        return (found[0], str(found[1]), found[2], str(found[3])) if found else None

    @property
    def has_body(self) -> bool:
        return self.chunked or bool(self.content_length)

    def drop_body(self) -> None:
        """Go on as a request without a body: it was refused, or is broken."""
        self.content_length, self.chunked, self.upload = 0, False, None

    def header(self, name: str) -> str:
        """The request's field of that name, repetitions joined by a comma; "" when there is none."""
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
        value: str = self.environ.get(key, "")
        return value

    def copy(self) -> Exchange:
        """The same record again, to be changed by itself; lists and dictionaries in it stay shared."""
        bare = {"REQUEST_METHOD": self.method, "RAW_URI": "/", "wsgi.input": None, "wsgi_proxy.pairs": NO_PAIRS}
        other = Exchange(bare)
        for name in RECORD:
            setattr(other, name, getattr(self, name))
        return other

    def why(self, room: str, sentence: str) -> None:
        """Note a decision for `explain`; call it only under `if x.trace is not None`."""
        if self.trace is not None:
            self.trace.append((room, sentence))


RECORD = """
    absolute added_trailers args body_bytes_received body_bytes_sent bytes_sent cache_key cache_status captures
    chunked completed connection content_length content_type environ error_response error_status finished_at host
    input internal kept leases limit_conn_status limit_rate limit_req_status location method named_location pairs
    peer_addr prefix protocol proxy_host proxy_port raw_target redirects relocate remote_addr remote_port remote_user
    request_body request_body_file request_id_value response rewritten_in_place scheme sent_trailers server
    server_captures started status subrequest target trace tried tries trusted_peer upgrade upload upstream_name
    upstream_pairs upstream_trailers uri uri_changed variables
""".split()
"""The attributes of an Exchange."""


class BegunInput:
    """A request's body of which the first byte was read."""

    __slots__ = ("_first", "_input")

    def __init__(self, first: bytes, source: Any) -> None:
        self._first = first
        self._input = source

    def read(self, size: int | None = -1) -> bytes:
        first, self._first = self._first, b""
        if not first or size == 0:
            self._first = first
            rest: bytes = b"" if size == 0 else self._input.read(size)
            return rest
        if size is None or size < 0:
            return first + bytes(self._input.read(size))
        return first + bytes(self._input.read(size - 1)) if size > 1 else first


class Response:
    """What goes back: a status, field pairs, and a body that is closed exactly once.

    `body` is an iterable of non-empty bytes blocks; it may have `close()`, and `send_to(stream)` (moves the whole body by itself;
    see worker.py). `length` is the body's length when it is known. `reason` "" means the standard phrase.
    """

    __slots__ = ("body", "headers", "length", "raw", "reason", "source", "status")

    def __init__(
        self,
        status: int,
        headers: Pairs | None = None,
        body: Iterable[bytes] = (),
        *,
        length: int | None = None,
        reason: str = "",
    ) -> None:
        self.status = status
        self.headers: Pairs = [] if headers is None else headers
        self.body = body
        self.length = length
        self.reason = reason
        self.source: Any = None
        """What made it, for the record: a reply of an upstream, a cache entry, a file."""
        self.raw = False
        """The fields are the upstream's own: the location that sends them has `Forwarder.answer_headers` still to do."""

    def close(self) -> None:
        """Close the body; safe to call more than once."""
        body, self.body = self.body, ()
        close = getattr(body, "close", None)
        if close is not None:
            close()

    def header(self, name: str) -> str | None:
        """The first field of that name, any case."""
        name = name.lower()
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return None


class FileBody:
    """A part of an open file as a body: `count` bytes from `offset`. The worker sends it by sendfile; anyone else iterates it."""

    __slots__ = ("_block", "count", "file", "offset")

    def __init__(self, file: io.BufferedIOBase | io.RawIOBase, offset: int, count: int, block: int = 64 * 1024) -> None:
        self.file = file
        self.offset = offset
        self.count = count
        self._block = block

    def __iter__(self) -> Iterator[bytes]:
        self.file.seek(self.offset)
        left = self.count
        while left > 0:
            block = self.file.read(min(left, self._block))
            if not block:
                raise EOFError("the file became shorter while it was sent")
            left -= len(block)
            yield block

    def close(self) -> None:
        self.file.close()
