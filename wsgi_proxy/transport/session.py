"""Requests to upstreams through one pooled `requests` session, on a wire of our own.

Rules:
- The session is requests' own, with its adapters: `WireAdapter` is mounted for http and https, and takes hand-built requests
  whose head is sent as it is. Nothing of the environment (proxies, netrc), no cookies, no redirects, no decoding.
- A `Reply` is a requests Response that costs nothing it is not asked for: `headers`, `cookies` and the like are made on demand.
- Foreign exceptions end here and in the wire: what comes out is ours (errors.py), with nginx's messages.
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
from .tls import remember_session
from .wire import Client, Wire, exchange

if TYPE_CHECKING:
    from ..http import Pairs, ResponseHead
    from ..net import Stream
    from .request_body import Source
    from .response_body import Body

__all__ = ["Outgoing", "Reply", "Route", "Transport", "WireAdapter"]


class Outgoing(requests.PreparedRequest):
    """A request ready to go: `head` is every byte up to and with the empty line, and says how `upload` is framed."""

    hooks: Any = {"response": []}
    _cookies = None
    _body_position = None

    def __init__(self, method: str, head: bytes, upload: Source | None = None) -> None:
        self.method = method
        self.head = head
        self.upload = upload
        self.route: Route | None = None
        self.client: Client | Watched | None = None
        """The client's connection, where the exchange is to be given up when the client leaves."""
        self.hints: Callable[[Pairs], None] | None = None
        """Takes the fields of each 103 (Early Hints) as it comes."""

    @property
    def target(self) -> str:
        """The raw target."""
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
    """An upstream's answer. Times are seconds: `connect_time` (0 on a kept connection), `header_time` until the head was read.

    `body` gives blocks of bytes (wire_body.Body); `pairs` are the raw fields. `content_length` is what was declared.
    """

    # What Response.__init__ would make for each answer, made for none.
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
        self.connect_time = connect_time
        self.header_time = header_time
        self.reused = reused

    @property
    def trailers(self) -> Pairs:
        """Trailer fields, once the body has been read to its end."""
        return self.body.trailers

    @property
    def bytes_received(self) -> int:
        """Bytes of the body on the wire so far."""
        return self.body.received

    @property
    def spliceable(self) -> bool:
        """Whether `send_to` moves the body by the kernel; otherwise iterating serves better."""
        return self.body.spliceable

    def send_to(self, client: Stream, patience: float | None = None) -> int:
        """Move the body to a client's stream; see Body.send_to."""
        return self.body.send_to(client, patience)

    def take_over(self) -> tuple[Stream, bytes]:
        """After a 101: the upstream's stream, and what came behind the head. The caller closes it."""
        rest, self.wire.buffer = self.wire.buffer, b""
        return self.wire.stream, rest

    def close(self) -> None:
        """Drop what was not read. The connection of a body that had ended is already kept for the next."""
        self.body.close()
        if self.status == 101:
            self.wire.close()

    abort = close

    # --- what a user of requests may ask for ---

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
    """Sends an `Outgoing` whose `route` is set."""

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
        """The answer, its body unread. Timeouts and TLS are the route's; the other arguments are there for requests' sake."""
        route = request.route
        if route is None:
            raise UpstreamError("a request without a route", sent=False)
        if route.idle is None:
            route.idle = self.idles.of(route)
        started = time.monotonic()
        wire, head, body, connect_time, reused = exchange(
            request.method or "GET", request.head, request.upload, route, request.client, request.hints
        )
        if route.tls is not None and not reused:
            remember_session(wire.stream, route)
        return Reply(request, wire, head, body, connect_time, time.monotonic() - started, reused)

    def close(self) -> None:
        self.idles.close()


class Transport:
    """The session and what it keeps, one for each process."""

    def __init__(self) -> None:
        self.adapter = WireAdapter()
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.adapters.clear()
        self.session.mount("http://", self.adapter)
        self.session.mount("https://", self.adapter)
        self._adapters: dict[str, BaseAdapter] = {}

    def send(self, out: Outgoing, route: Route) -> Reply:
        """Send a request by a route. Raises UpstreamError, and what reading the request's body raises."""
        adapter = self._adapters.get(route.url)
        if adapter is None:
            adapter = self._adapters[route.url] = self.session.get_adapter(route.url)
        out.route = route
        reply: Reply = adapter.send(out, True)  # type: ignore[assignment]
        return reply

    def sweep(self) -> None:
        """Close what has been idle for too long; from time to time, where no loop tells of it."""
        self.adapter.idles.sweep(time.monotonic())

    def close(self) -> None:
        """Close the session and every idle connection."""
        self.session.close()
