"""Requests to upstreams through one pooled `requests` session with its own transport adapter.

Rules:
- `WireAdapter` is mounted for http and https. It takes prepared requests and sends their heads unchanged. The environment
  (proxies, netrc) is ignored, and there are no cookies, redirects or decoding.
- A `Reply` is a requests Response that computes `headers`, `cookies` and the like only on demand.
- Exceptions of libraries become those of errors.py here and in wire.py, with nginx's messages.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import BaseAdapter
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict

from ..errors import UpstreamError
from .client_watch import Watched
from .route import Idles, Route
from .sending import send
from .tls import remember_session
from .wire import Client, Wire

if TYPE_CHECKING:
    from ..http import Pairs, ResponseHead
    from ..net import Stream
    from .sending import Source
    from .splice import Body

__all__ = ["Outgoing", "Reply", "Route", "Transport", "WireAdapter"]


class Outgoing(requests.PreparedRequest):
    """A request ready to be sent. `head` holds all bytes up to the empty line, and declares the framing of `upload`."""

    hooks: Any = {"response": []}
    _cookies = None
    _body_position = None

    def __init__(self, method: str, head: bytes, upload: Source | None = None) -> None:
        self.method = method
        self.head = head
        self.upload = upload
        self.may_close = True
        """False if the head is known to have no `Connection: close`, for which it is searched otherwise."""
        self.route: Route | None = None
        self.client: Client | Watched | None = None
        """The client's connection, if the exchange ends when the client leaves."""
        self.hints: Callable[[Pairs], None] | None = None
        """A function that takes the fields of each 103 (Early Hints) response."""
        self.log: Callable[[str, str], None] | None = None
        """A function that takes the level and the text of a line from a FastCGI server's STDERR."""

    @property
    def target(self) -> str:
        """The request target, as in the head."""
        return self.head.split(b" ", 2)[1].decode("latin-1")

    @property
    def pairs(self) -> Pairs:
        """The fields of the head."""
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        return [(name, value.strip(" \t")) for name, _, value in (line.partition(":") for line in lines)]

    @property
    def url(self) -> str:  # type: ignore[override]
        route = self.route
        return f"{route.url}{route.name}{self.target}" if route is not None else self.target

    @property
    def headers(self) -> CaseInsensitiveDict[str]:  # type: ignore[override]
        return CaseInsensitiveDict(self.pairs)

    @property
    def body(self) -> Source | None:  # type: ignore[override]
        return self.upload


class Reply(requests.Response):
    """The response of an upstream.

    Times are in seconds: `connect_time` is 0 on a kept connection; `header_time` ends when the head was read. `body` yields
    blocks of bytes (response_body.Body). `pairs` are the fields as received. `content_length` is the declared length.
    """

    # Class attributes in place of those that Response.__init__ sets for each response.
    history: Any = ()
    encoding = None
    _content: Any = False
    _content_consumed = False
    _next = None

    def __init__(
        self, request: Outgoing, wire: Wire, head: ResponseHead, body: Body, connect_time: float, header_time: float, reused: bool
    ) -> None:
        self.request = request
        self.wire = wire
        self.status = self.status_code = head.status
        self.reason = head.reason
        self.pairs = head.pairs
        self.content_length = head.content_length
        self.special = head.special
        self.head = head
        self.body = self.raw = body
        self._sent = wire.sent
        self._partial = wire.sending is not None
        self._head_received = wire.received - (len(wire.buffer) if head.status == 101 else body.received)
        self.connect_time = connect_time
        self.header_time = header_time
        self.reused = reused

    @property
    def trailers(self) -> Pairs:
        """The trailer fields, once the body has been read to its end."""
        return self.body.trailers

    @property
    def bytes_sent(self) -> int:
        """The bytes of the request sent so far, head and framing included."""
        if not self._partial:
            return self._sent  # the connection may carry another request by now
        sending = self.wire.sending
        return self.wire.sent if sending is None else sending.sent

    @property
    def bytes_received(self) -> int:
        """The bytes received so far: interim responses, the head and the body with its framing."""
        return self._head_received + self.body.received

    @property
    def spliceable(self) -> bool:
        """True if `send_to` moves the body by splice. Iteration is better otherwise."""
        return self.body.spliceable

    def send_to(self, client: Stream, patience: float | None = None) -> int:
        """Send the body to a client's stream (Body.send_to)."""
        return self.body.send_to(client, patience)

    def take_over(self) -> tuple[Stream, bytes]:
        """Return the upstream's stream after a 101, and the bytes that followed the head. The caller closes the stream."""
        rest, self.wire.buffer = self.wire.buffer, b""
        return self.wire.stream, rest

    def close(self) -> None:
        """Discard the rest of the body. The connection of a complete body has been returned to the pool already."""
        self.body.close()
        if self.status == 101:
            self.wire.close()

    abort = close

    # --- the interface of requests.Response ---

    @property
    def headers(self) -> CaseInsensitiveDict[str]:  # type: ignore[override]
        joined: CaseInsensitiveDict[str] = CaseInsensitiveDict()
        for name, value in self.pairs:
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
        return joined

    @property
    def cookies(self) -> RequestsCookieJar:  # type: ignore[override]
        return RequestsCookieJar()

    @property
    def url(self) -> str:  # type: ignore[override]
        return str(self.request.url)

    @property
    def elapsed(self) -> timedelta:  # type: ignore[override]
        return timedelta(seconds=self.header_time)


class WireAdapter(BaseAdapter):
    """The adapter that sends an `Outgoing` whose `route` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.idles = Idles()

    def send(  # type: ignore[override]
        self,
        request: Outgoing,
        stream: bool = True,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> Reply:
        """Return the response with an unread body. The route has the timeouts and TLS settings; other arguments are ignored."""
        route = request.route
        if route is None:
            raise UpstreamError("a request without a route", sent=False)
        if route.idle is None:
            route.idle = self.idles.of(route)
        started = time.monotonic()
        wire, head, body, connect_time, reused = send(
            request.method or "GET",
            request.head,
            request.upload,
            route,
            request.client,
            request.hints,
            request.log,
            request.may_close,
        )
        if route.tls is not None and not reused:
            remember_session(wire.stream, route)
        return Reply(request, wire, head, body, connect_time, time.monotonic() - started, reused)

    def close(self) -> None:
        self.idles.close()


class Transport:
    """The session with its connections, one for each process."""

    def __init__(self) -> None:
        self.adapter = WireAdapter()
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.adapters.clear()
        self.session.mount("http://", self.adapter)
        self.session.mount("https://", self.adapter)
        self._adapters: dict[str, BaseAdapter] = {}

    def send(self, out: Outgoing, route: Route) -> Reply:
        """Send a request by a route. Raise UpstreamError, and any exception of reading the request's body."""
        adapter = self._adapters.get(route.url)
        if adapter is None:
            adapter = self._adapters[route.url] = self.session.get_adapter(route.url)
        out.route = route
        reply: Reply = adapter.send(out, True)  # type: ignore[assignment]
        return reply

    def sweep(self) -> None:
        """Close the connections that have been idle for too long. Servers without an event loop call it regularly."""
        self.adapter.idles.sweep(time.monotonic())

    def close(self) -> None:
        """Close the session and every idle connection."""
        self.session.close()
