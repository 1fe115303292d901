"""The request of a new exchange: its target, fields and body, from ProxyWorker's raw request or from an environ.

Rules:
- The environ is the request (PEP 3333). A raw copy that the server hands over beside it is used where it still agrees
  (`http.environ`).
- ProxyWorker has checked its requests. Those of other servers are checked here (`http.environ_checks`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .errors import InvalidLine
from .http import (
    Pairs,
    absolute_form,
    agreed_pairs,
    agreed_target,
    check_fields,
    check_target,
    client_options,
    framed_body,
    pairs_of,
)

if TYPE_CHECKING:
    from .exchange import Exchange


def take_raw(exchange: Exchange, pairs: Pairs) -> None:
    """Take the request as the worker read it."""
    environ = exchange.environ
    exchange.pairs = pairs
    exchange.target = exchange.raw_target = environ["RAW_URI"]
    if exchange.target[:1] != "/":
        _take_other_form(exchange, True)
    if environ.get("SCRIPT_NAME"):
        exchange.target = agreed_target(environ, exchange.target)
    length = environ.get("CONTENT_LENGTH")
    if length:
        exchange.content_length = int(length)
    elif "HTTP_TRANSFER_ENCODING" in environ:
        exchange.chunked = True
    elif exchange.protocol == "HTTP/2.0":
        # A body needs no length (RFC 9113, section 8.1): a stream without its end has one.
        begins = getattr(exchange.input, "begins", None)
        exchange.chunked = begins is not None and begins()


def take_environ(exchange: Exchange, pairs: Pairs | None, sent: Mapping[str, str] | None) -> None:
    """Take the request from the environ, and those parts of the raw request that agree with it.

    `pairs` are the raw fields, `sent` the keys that the server made of them; both are None if the server hands over neither.
    """
    environ = exchange.environ
    raw: str = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
    if "#" in raw and "SERVER_SOFTWARE" not in environ:
        # Werkzeug's test client leaves the fragment of a URL here; a server names itself, and found it in a request line.
        raw = raw.partition("#")[0]
    # No server finds a space in the target of a request line: the environ of a test client has one. HTTP/2 has no such line.
    judged = raw if exchange.protocol.startswith("HTTP/2") else raw.replace(" ", "")
    check_target(exchange.method, judged or "/", exchange.protocol)
    exchange.raw_target = exchange.target = raw
    if raw[:1] != "/":
        host = environ.get("HTTP_HOST")
        if sent is not None:
            authoritative = host == sent.get("HTTP_HOST")
        else:
            # A Host that differs may be a middleware's. The target of a CONNECT is nowhere else.
            authoritative = host is None or exchange.method == "CONNECT"
        _take_other_form(exchange, authoritative)
    if exchange.target[:1] in "/" or exchange.method != ("OPTIONS" if exchange.target == "*" else "CONNECT"):
        exchange.target = agreed_target(environ, exchange.target)
        exchange.raw_target = raw or exchange.target
    if pairs is None or sent is None:
        exchange.pairs = pairs or pairs_of(environ)
    else:
        exchange.pairs = agreed_pairs(environ, pairs, sent)
        if "HTTP_CONNECTION" in environ:
            environ["HTTP_CONNECTION"] = client_options(environ, sent)
    check_fields(environ)
    exchange.content_length, exchange.chunked, exchange.input = framed_body(environ, exchange.protocol, exchange.input)


def _take_other_form(exchange: Exchange, authoritative: bool) -> None:
    """Take the authority of absolute form or of CONNECT as the host, whatever Host says (RFC 9112, section 3.2.2).

    It is not `authoritative` if a middleware has or may have changed Host. The target `*` stays as it is.
    """
    if exchange.method == "CONNECT":
        authority = exchange.target
    else:
        found = absolute_form(exchange.target)
        if found is None:
            return
        exchange.absolute, authority, exchange.target = found
        if not authority or "@" in authority:
            raise InvalidLine("invalid authority in the request's target")
    if authoritative:
        exchange.environ["HTTP_HOST"] = authority
