"""The pooled `requests` session with its own transport adapter.

Rules:
- `WireAdapter` is mounted for http and https. It takes prepared requests and sends their heads unchanged. The environment
  (proxies, netrc) is ignored, and there are no cookies, redirects or decoding.
- The proxy sends by `Transport.send`, without the objects of requests: classes that derive from those of requests stay
  interpreted, and would cost each request 15,000 instructions. `WireAdapter.send` makes them of the same Call and Reply.
- Another adapter that is mounted on the session (a `WireAdapter` with a changed `send`) gets the requests of its prefix.
- A `Response` computes `headers`, `cookies` and the like only on demand.
- Exceptions of libraries become those of errors.py here and in wire.py, with nginx's messages.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import BaseAdapter
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict

from ..clocks import monotonic
from ..errors import UpstreamError
from .reply import Call, Reply
from .route import Idles, Route
from .sending import send

if TYPE_CHECKING:
    from ..http import Pairs
    from .reply import Source

__all__ = ["Outgoing", "Response", "Transport", "WireAdapter"]


class Outgoing(requests.PreparedRequest):
    """A request ready to be sent by a route, as a request of requests."""

    hooks: Any = {"response": []}
    _cookies = None
    _body_position = None

    def __init__(self, call: Call, route: Route | None = None) -> None:
        self.call = call
        self.route = route
        self.method = call.method

    @property
    def target(self) -> str:
        """The request target, as in the head."""
        return self.call.head.split(b" ", 2)[1].decode("latin-1")

    @property
    def pairs(self) -> Pairs:
        """The fields of the head."""
        lines = self.call.head.decode("latin-1").split("\r\n")[1:-2]
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
        return self.call.upload


class Response(requests.Response):
    """The response of an upstream, as a response of requests."""

    # Class attributes in place of those that Response.__init__ sets for each response.
    history: Any = ()
    encoding = None
    _content: Any = False
    _content_consumed = False
    _next = None

    def __init__(self, request: Outgoing, reply: Reply) -> None:
        self.request = request
        self.reply = reply
        self.status_code = reply.status
        self.reason = reply.reason
        self.raw = reply.body

    def close(self) -> None:
        """Discard the rest of the body (Reply.close)."""
        self.reply.close()

    @property
    def headers(self) -> CaseInsensitiveDict[str]:  # type: ignore[override]
        joined: CaseInsensitiveDict[str] = CaseInsensitiveDict()
        for name, value in self.reply.pairs:
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
        return timedelta(seconds=self.reply.header_time)


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
    ) -> Response:
        """Return the response with an unread body. The route has the timeouts and TLS settings; other arguments are ignored."""
        if request.route is None:
            raise UpstreamError("a request without a route", sent=False)
        return Response(request, send(request.call, request.route, self.idles))

    def close(self) -> None:
        self.idles.close()


class Transport:
    """The session with its connections, one for each process."""

    def __init__(self) -> None:
        self.adapter = WireAdapter()
        self.idles = self.adapter.idles
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.adapters.clear()
        self.session.mount("http://", self.adapter)
        self.session.mount("https://", self.adapter)
        self._adapters: dict[str, BaseAdapter] = {}

    def send(self, call: Call, route: Route) -> Reply:
        """Send a request by a route. Raise UpstreamError, and any exception of reading the request's body."""
        adapter = self._adapters.get(route.url)
        if adapter is None:
            adapter = self._adapters[route.url] = self.session.get_adapter(route.url)
        if adapter is self.adapter:
            return send(call, route, self.idles)
        response: Response = adapter.send(Outgoing(call, route), True)  # type: ignore[assignment]
        return response.reply

    def sweep(self) -> None:
        """Close the connections that have been idle for too long. Servers without an event loop call it regularly."""
        self.idles.sweep(monotonic())

    def close(self) -> None:
        """Close the session and every idle connection."""
        self.session.close()
