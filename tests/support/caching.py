"""A cache with a small proxy around it: an origin as a function, and exchanges made from environs."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from wsgi_proxy.cache.cache import Cache
from wsgi_proxy.cache.fetch import Fetch
from wsgi_proxy.cache.plan import CachePlan
from wsgi_proxy.cache.rfc9111.freshness import Freshness
from wsgi_proxy.cache.storage.entry import Entry
from wsgi_proxy.config import CacheSettings, CacheZone, Location, ProxySettings
from wsgi_proxy.errors import UpstreamError
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.http.dates import format_date
from wsgi_proxy.response import Response

Pairs = list[tuple[str, str]]

FRESH = [("Cache-Control", "max-age=60")]
TAG = [*FRESH, ("ETag", '"a"'), ("Accept-Ranges", "bytes")]


class Constant:
    """A template without variables."""

    def __init__(self, text: str) -> None:
        self.constant = text

    def __call__(self, x: Exchange) -> str:
        return self.constant


def location(ignore: frozenset[str] = frozenset(), **settings: Any) -> Location:
    return Location(
        cache=replace(CacheSettings(zone=Constant("z"), convert_head=False), **settings),
        proxy=ProxySettings(ignore_headers=ignore),
    )


def exchange(target: str = "/", method: str = "GET", headers: Pairs | None = None, host: str = "h.test") -> Exchange:
    pairs = [("Host", host), *(headers or [])]
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "wsgi.input": io.BytesIO(),
        "wsgi.url_scheme": "http",
        "wsgi_proxy.pairs": pairs,
        "RAW_URI": target,
        "REMOTE_ADDR": "127.0.0.1",
    }
    for name, value in pairs:
        key = "HTTP_" + name.upper().replace("-", "_")
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return Exchange.from_environ(environ)


class Body:
    """An upstream's body that counts how often it was closed, and may end in an error."""

    def __init__(self, blocks: list[bytes], error: Exception | None = None) -> None:
        self.blocks = blocks
        self.error = error
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield from self.blocks
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed += 1


class Held:
    """The origin's response `made`, held back until `go` is set; `began` is set when it is asked for."""

    def __init__(self, made: Callable[[str], Response]) -> None:
        self.made = made
        self.began, self.go = threading.Event(), threading.Event()

    def __call__(self, method: str) -> Response:
        self.began.set()
        assert self.go.wait(30)
        return self.made(method)


def stored() -> Entry:
    """Return an entry with one field, fresh for 60 seconds from 1970 on."""
    return Entry("k", "/", 200, "", [("A", "1")], Freshness(0.0, 60.0), 0.0)


class Origin:
    """The upstream: its next responses, and the requests that it got."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.responses: list[Callable[[str], Response] | Exception] = []
        self.clock: Callable[[], float] = lambda: 0.0

    def __call__(self, x: Exchange, fetch: Fetch | None) -> Response:
        dropped = {"if-none-match", "if-modified-since", "range", "if-range", "if-match", "if-unmodified-since"}
        pairs = [p for p in x.pairs if fetch is None or not fetch.drop_conditions or p[0].lower() not in dropped]
        if fetch is not None:
            pairs += fetch.extra
        method = (fetch and fetch.method) or x.method
        self.seen.append((method, x.target, {n.lower(): v for n, v in pairs}))
        made = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
        if isinstance(made, Exception):
            raise made
        response = made(method)
        x.upstream_pairs = list(response.headers)
        response.raw = True
        return response


class Site:
    """The cache between exchanges and an origin, with a clock that tests move."""

    def __init__(self, directory: Path, *, spawn: Any = None, background: bool = False, zone: CacheZone | None = None) -> None:
        self.now = 1_700_000_000.0
        self.origin = Origin()
        self.spawned: list[Callable[[], None]] = []
        self.zone = zone or CacheZone("z", str(directory))
        self.cache = Cache(
            {"z": self.zone},
            clock=lambda: self.now,
            refetch=self.origin if background else None,
            spawn=spawn or (self.spawned.append if background else None),
        )
        self.location = location()

    def responses(self, *made: Any) -> None:
        """Set the next responses of the origin, the last one from then on: (status, headers, body) or an exception."""
        self.origin.responses = [one if isinstance(one, Exception) else self._maker(*one) for one in made]

    def _maker(self, status: int = 200, headers: Pairs | None = None, body: Any = b"body") -> Callable[[str], Response]:
        def make(method: str) -> Response:
            fields = list(headers or [])
            if not any(name.lower() == "date" for name, _ in fields):
                fields.append(("Date", format_date(int(self.now))))
            blocks = body if isinstance(body, Body) else Body([body] if body and method != "HEAD" else [])
            known = None if isinstance(body, Body) else len(body)
            if status == 304:
                known = None
            elif known is not None:
                fields.append(("Content-Length", str(known)))
            return Response(status, fields, blocks, length=known)

        return make

    @property
    def plan(self) -> CachePlan:
        return CachePlan(self.location)

    def ask(self, x: Exchange) -> Response:
        """Answer a request as the proxy does. The response's body is not read yet."""
        found = self.cache.lookup(x, self.plan)
        if isinstance(found, Response):
            return found
        if found is None:
            return self.origin(x, None)
        try:
            found.prepare(x)
            try:
                response = self.origin(x, found)
            except UpstreamError as error:
                stale = found.failed(x, error)
                if stale is None:
                    raise
                return stale
            return found.store(x, response)
        finally:
            found.close()

    def get(self, target: str = "/", method: str = "GET", headers: Pairs | None = None, **keys: Any) -> Got:
        x = exchange(target, method, headers, **keys)
        response = self.ask(x)
        body = b"".join(response.body)
        response.close()
        return Got(x, response, body)

    @property
    def fetches(self) -> int:
        return len(self.origin.seen)

    def run_spawned(self) -> None:
        while self.spawned:
            self.spawned.pop(0)()


class Got:
    """A response with its body."""

    def __init__(self, x: Exchange, response: Response, body: bytes) -> None:
        self.x = x
        self.response = response
        self.status = response.status
        self.body = body
        self.word = x.cache_status

    def __getitem__(self, name: str) -> str | None:
        return self.response.header(name)
