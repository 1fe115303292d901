"""Subrequests: a request to a location of the same server, with the client's fields and without its access phase.

Rules:
- A subrequest has a separate record, so that the log line of the client's request shows none of its decisions. It shares the
  variables that `set` has filled, except in the background.
- The client's conditions, range and upgrade are about the response to the client and are left out.
- A subrequest goes on when the client leaves.
- Subrequests inside subrequests are limited as in nginx: 50 levels.
Source: nginx, ngx_http_subrequest.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import ProxyError
from ...exchange import Exchange
from ...http import tokens

if TYPE_CHECKING:
    from ...response import Response
    from ...routing import Router

MAX_DEPTH = 50

_CONDITIONS = frozenset({"if-modified-since", "if-unmodified-since", "if-none-match", "if-match", "range", "if-range"})
_UPGRADE = frozenset({"upgrade"})


class Subresponse:
    """The response to a subrequest and its record. `close` ends both."""

    __slots__ = ("exchange", "response")

    def __init__(self, exchange: Exchange, response: Response) -> None:
        self.exchange = exchange
        self.response = response

    def close(self) -> None:
        """Close the response and everything that the record holds; safe to call more than once."""
        try:
            self.response.close()
        finally:
            leases, self.exchange.leases = self.exchange.leases, None
            for lease in leases or ():
                lease.close()


class Subrequests:
    """Answers subrequests. `respond` returns the finished response to an exchange that the router has redirected."""

    def __init__(self, router: Router, respond: Callable[[Exchange], Response]) -> None:
        self._router = router
        self._respond = respond

    def answer(self, exchange: Exchange, uri: str, args: str, bare: bool = False) -> Subresponse:
        """Answer a GET for a decoded URI on behalf of `exchange`. With `bare` a page of the proxy for a status has no body.

        Raises ProxyError if the subrequests form a cycle.
        """
        found = self.send(within(exchange), uri, args)
        if bare and found.response.status >= 300 and found.response.source is None:
            found.response.close()
        return found

    def check(self, exchange: Exchange, uri: str) -> Subresponse:
        """Answer the GET of an `auth_request`, which has the client's conditions and range. Raises ProxyError as `answer`."""
        inner = within(exchange, conditions=True)
        inner.fields_only = True
        return self.send(inner, uri, "")

    def send(self, inner: Exchange, uri: str, args: str) -> Subresponse:
        """Answer a subrequest that `within` has made, at a decoded URI."""
        self._router.redirect(inner, uri, args)
        return Subresponse(inner, self._respond(inner))

    def send_named(self, inner: Exchange, name: str) -> Subresponse:
        """Answer a subrequest that `within` has made, in a named location. Raises ProxyError if there is none."""
        self._router.named(inner, name)
        return Subresponse(inner, self._respond(inner))


def within(exchange: Exchange, background: bool = False, conditions: bool = False) -> Exchange:
    """Return a subrequest's exchange: a GET without a body, with an empty record. Raises ProxyError below 50 levels.

    `conditions` keeps the client's conditions and range.
    """
    if exchange.depth >= MAX_DEPTH:
        raise ProxyError(f'subrequests cycle while processing "{exchange.uri}"')
    inner = Exchange()
    dropped = _UPGRADE if conditions else _CONDITIONS | _UPGRADE
    inner.environ = _environ(exchange.environ, dropped)
    # The fields that frame the client's body become CGI variables; a request over HTTP never has them (`RequestFilter`).
    inner.pairs = [pair for pair in exchange.pairs if pair[0].lower() not in dropped]
    inner.main = exchange if exchange.main is None else exchange.main
    for name in _SHARED:
        setattr(inner, name, getattr(exchange, name))
    inner.variables = dict(exchange.variables) if background else exchange.variables
    inner.method = "GET"
    inner.input = io.BytesIO()
    inner.subrequest = inner.internal = True
    inner.background = True
    inner.depth = exchange.depth + 1
    return inner


_SHARED = (
    "absolute captures compiled connection host host_given location page peer_addr prefix protocol raw_target remote_addr "
    "remote_port remote_user request_id_value scheme server site started target trace trace_context trusted_peer user_id"
).split()
"""The attributes of the client's request that a subrequest shares."""


def _environ(environ: dict[str, Any], dropped: frozenset[str]) -> dict[str, Any]:
    """Return the environ without the client's body and the fields with these lower-case names."""
    made = {**environ, "REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO()}
    for name in ("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "wsgi.early_hints"):
        made.pop(name, None)
    for name in dropped:
        made.pop("HTTP_" + name.upper().replace("-", "_"), None)
    connection = made.get("HTTP_CONNECTION")
    if connection is not None:
        made["HTTP_CONNECTION"] = ", ".join(sorted(tokens(connection) - {"upgrade"}))
    return made
