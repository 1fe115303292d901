"""The scenarios, in the order in which they run.

Rules:
- A row of `SCENARIOS` names the work, its measurement and the aim; the first figure of a measurement is its main one.
- Aims are recorded in the report and never asserted.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from . import bodies
from .contenders import CONTENDERS, NGINX, OURS, Running
from .measures import Figures, Measure, Turn, cached, h2load, handshakes, http2_growth, wrk

PROXIES = tuple(name for name, contender in CONTENDERS.items() if not contender.peer)


@dataclass(frozen=True)
class Aim:
    """The largest ratio to the cheaper nginx, or with `absolute` the largest figure, that is wanted."""

    must: float
    hope: float | None = None
    must_below: tuple[str, ...] = ()
    """Contenders that cost more."""
    hope_below: tuple[str, ...] = ()
    absolute: bool = False


@dataclass(frozen=True)
class Scenario:
    """One kind of work."""

    title: str
    measure: Measure
    aim: Aim | None = None
    contenders: tuple[str, ...] = PROXIES
    needs: str = ""
    """The load generator, a program."""
    servers: int = 6
    connections: int = 4096
    alone: bool = False
    """Each contender is started for this measurement, and measured in the first round only: memory does not drift."""
    default: bool = True


def _gzip(running: Running, turn: Turn) -> Figures:
    head, body = bodies.check(running, "/text", fields=b"Accept-Encoding: gzip\r\n")
    if b"content-encoding: gzip" not in head.lower():
        raise RuntimeError("the response is not compressed")
    if b"transfer-encoding: chunked" in head.lower():
        body = _join_chunks(body)
    if zlib.decompress(body, 31) != running.upstreams.text:
        raise RuntimeError("the compressed response is not the text")
    return {**wrk(running, turn, "/text", fields=("Accept-Encoding: gzip",)), "compressed KB": len(body) / 1024}


def _join_chunks(body: bytes) -> bytes:
    """Return the content of a chunked body without trailers (RFC 9112, section 7.1)."""
    content = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        content, body = content + body[:length], body[length + 2 :]
    return content


def _hello(running: Running, turn: Turn) -> Figures:
    return wrk(running, turn, "/hello")


CACHES = (*NGINX, "haproxy", OURS)
GROWTH = (*NGINX, "haproxy", "envoy", OURS)
SCENARIOS: dict[str, Scenario] = {
    "forward": Scenario("forward, one head repeated", wrk, Aim(2.5, 1.8), tuple(CONTENDERS), "wrk"),
    "varied": Scenario(
        "forward, 4,000 different heads",
        lambda running, turn: wrk(running, turn, heads=""),
        Aim(2.8, 2.2, hope_below=("envoy",)),
        needs="wrk",
    ),
    "varied-tls": Scenario(
        "4,000 different heads over kept TLS",
        lambda running, turn: wrk(running, turn, heads="", tls=True),
        Aim(3.0, 2.2, hope_below=("envoy",)),
        needs="wrk",
    ),
    "handshake": Scenario(
        "a TLS handshake for each request",
        lambda running, turn: handshakes(running, turn, resume=False),
        Aim(2.3, 1.5, hope_below=("envoy",)),
    ),
    "resumption": Scenario(
        "a resumed TLS session for each request", lambda running, turn: handshakes(running, turn, resume=True)
    ),
    "http2": Scenario(
        "HTTP/2, 10 streams on 8 connections",
        h2load,
        Aim(4.0, 1.6, must_below=("caddy", "traefik"), hope_below=("envoy",)),
        needs="h2load",
    ),
    "cached": Scenario("a cache hit, 4,000 URLs and heads", cached, Aim(2.0, 1.2), CACHES, "wrk"),
    "websocket": Scenario("a WebSocket message relayed", bodies.relayed, Aim(1.5, 1.1)),
    "gzip": Scenario("gzip of a 20 KB text, level 1", _gzip, needs="wrk"),
    "servers": Scenario("forward to 600 servers, one head", wrk, needs="wrk", servers=600),
    "download": Scenario("64 MB down", lambda running, turn: bodies.transfer(running, turn, up=False, tls=False)),
    "upload": Scenario("64 MB up", lambda running, turn: bodies.transfer(running, turn, up=True, tls=False)),
    "download-tls": Scenario("64 MB down over TLS", lambda running, turn: bodies.transfer(running, turn, up=False, tls=True)),
    "upload-tls": Scenario("64 MB up over TLS", lambda running, turn: bodies.transfer(running, turn, up=True, tls=True)),
    "memory": Scenario("the whole proxy, idle", bodies.idle_memory, Aim(60, 40, absolute=True), alone=True),
    "clients": Scenario(
        "10,000 idle clients", lambda running, turn: bodies.idle_clients(running, turn, tls=False), connections=16384, alone=True
    ),
    "clients-tls": Scenario(
        "10,000 idle TLS clients",
        lambda running, turn: bodies.idle_clients(running, turn, tls=True),
        Aim(20, 10, absolute=True),
        connections=16384,
        alone=True,
    ),
    "growth": Scenario(
        "growth over HTTP/2, 1,000 connections", http2_growth, Aim(4, 0, absolute=True), GROWTH, "h2load", alone=True
    ),
    "hello": Scenario('return 200 "hello"', _hello, contenders=PROXIES[:5] + (OURS,), needs="wrk", default=False),
    "cached-1m": Scenario(
        "a 1 MB cache hit", lambda running, turn: wrk(running, turn, "/cached/1m"), None, CACHES, "wrk", default=False
    ),
    "latency": Scenario("200 requests a second", bodies.latency, default=False),
}
"""Name → scenario. Those that are not default run when `--only` names them."""
