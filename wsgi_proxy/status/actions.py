"""The actions of `wsgi_proxy_status page write`: drain, down and up for a server, purge for a cache zone, key-value pairs.

Rules:
- An action is a POST with the page's token in `X-CSRF-Token`. Another site can neither read the page nor send the field (Fetch,
  "CORS-preflight fetch"). The location's `allow` and `deny` have admitted the client already.
- Pairs may also be changed without the token by a program. A browser is known by Origin, Referer or Sec-Fetch-Site, of which it
  sends at least one with these methods (Fetch, "HTTP-network-or-cache fetch").
- The token is random and the same in all workers until the main process ends.
- What an operator says about a server holds in all workers until the configuration is read again. Each action has a line in the
  error log, with the client's address.
"""

from __future__ import annotations

import hmac
import json
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from ..balance import DOWN, DRAIN, UP
from ..keyval import api
from ..logs import errorlog

if TYPE_CHECKING:
    from ..exchange import Exchange
    from ..shm import SharedMemory
    from .snapshot import Sources

_NO_TOKEN = "the token of the page is missing or old: load the page again"
_WORDS = {"up": UP, "drain": DRAIN, "down": DOWN}
_LONGEST = 4096
"""The largest body of an action in bytes."""
_LONGEST_PAIRS = 1 << 20
"""The largest body with key-value pairs in bytes."""


def token_of(memory: SharedMemory) -> str:
    """Return the token of the main process, made at its first use."""
    words = memory.area("status/token", 32)
    with memory.lock("status/token"):
        if not any(words):
            words[:] = secrets.token_bytes(32)
        return words.tobytes().hex()


def perform(exchange: Exchange, sources: Sources) -> tuple[int, str]:
    """Perform the action of a POST and return the status and text of the response."""
    if not _has_token(exchange, sources):
        return 403, _NO_TOKEN
    body = exchange.input.read(_LONGEST + 1) if exchange.has_body else b""
    if len(body) > _LONGEST:
        return 413, "the action is too long"
    form = {key: values[0] for key, values in parse_qs(body.decode("utf-8", "replace")).items()}
    action = form.get("action", "")
    if action in _WORDS:
        status, text = _force(sources, action, form.get("upstream", ""), form.get("server", ""))
    elif action == "purge":
        status, text = _purge(sources, form.get("zone", ""))
    else:
        status, text = 400, "unknown action"
    if status == 200:
        errorlog.line("notice", f"status page: {text}", exchange)
    return status, text


def _has_token(exchange: Exchange, sources: Sources) -> bool:
    said, token = exchange.header("X-CSRF-Token"), token_of(sources.metrics.registry.memory)
    return hmac.compare_digest(said.encode(), token.encode()) and exchange.header("Sec-Fetch-Site") in ("", "same-origin")


def keyvals(exchange: Exchange, sources: Sources, name: str, writes: bool) -> tuple[int, str]:
    """Perform a request for key-value pairs (`keyval.api`), and return the status and the JSON text of the response."""
    method = exchange.method
    try:
        if method not in ("GET", "HEAD"):
            if not writes:
                raise api.Problem(405, "method disabled", "MethodDisabled")
            browser = any(exchange.header(field) for field in ("Origin", "Referer", "Sec-Fetch-Site"))
            if not _has_token(exchange, sources) and (browser or exchange.header("X-CSRF-Token")):
                raise api.Problem(403, _NO_TOKEN, "Forbidden")
        body = exchange.input.read(_LONGEST_PAIRS + 1) if exchange.has_body else b""
        if len(body) > _LONGEST_PAIRS:
            raise api.Problem(413, "the body is too long", "BodyTooLong")
        status, value, done = api.perform(sources.keyvals, name, method, exchange.args, body)
    except api.Problem as problem:
        return problem.status, json.dumps(problem.body()) + "\n"
    if done:
        errorlog.line("notice", f"status page: {done}", exchange)
    return status, "" if value is None else json.dumps(value) + "\n"


def _force(sources: Sources, action: str, upstream: str, server: str) -> tuple[int, str]:
    pool = sources.pools.get(upstream)
    peers: list[Any] = [peer for peer in pool.peers if peer.name == server] if pool is not None else []
    if pool is None or not peers:
        return 404, "no such server"
    for peer in peers:
        pool.force(peer, _WORDS[action])
    return 200, f'server {server} of upstream "{upstream}" is set to {action}'


def _purge(sources: Sources, name: str) -> tuple[int, str]:
    zone = next((zone for zone in sources.cache.zones() if zone.settings.name == name), None)
    if zone is None:
        return 404, "no such cache zone"
    try:
        count = zone.purge(lambda entry: True)
    except OSError as error:
        return 500, f'cache zone "{name}" cannot be purged: {error}'
    return 200, f'cache zone "{name}": {count} entries removed'
