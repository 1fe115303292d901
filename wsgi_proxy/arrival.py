"""The request of a new exchange: its target, fields and body, from ProxyWorker's raw request or from an environ.

Rules:
- The environ is the request (PEP 3333). A raw copy that the server hands over beside it is used where it still agrees
  (`http.environ`).
- ProxyWorker has checked its requests. Those of other servers are checked here (`http.environ_checks`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .errors import InvalidLine
from .http import (
    FieldLine,
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
    from _typeshed.wsgi import WSGIEnvironment

    from .exchange import Exchange


class ClientRequest:
    """The request as the client sent it: the base of an Exchange."""

    method = "GET"
    fields: list[FieldLine] | None = None
    """The checked lines of `pairs`, if ProxyWorker has read them from HTTP/1 and nothing has edited them; else None."""
    writer: Any = None
    """ProxyWorker's response writer, whose `environ()` is made only if something asks for it; None for other servers."""
    _environ: WSGIEnvironment | None = None

    @property
    def environ(self) -> WSGIEnvironment:
        """The WSGI environ. ProxyWorker's is made at its first use, because most requests need none."""
        made = self._environ
        if made is None:
            made = self._environ = {} if self.writer is None else self.writer.environ()
        return made

    @environ.setter
    def environ(self, environ: WSGIEnvironment) -> None:
        self._environ = environ

    def sent(self, key: str) -> str | None:
        """Return the value of an environ key that a field of the request has (`HTTP_HOST`); None without such a field."""
        fields = self.fields
        if fields is None or self._environ is not None:
            value: str | None = self.environ.get(key)
            return value
        found: str | None = None
        for field in fields:
            if field.key == key:
                found = field.value if found is None else f"{found}{'; ' if key == 'HTTP_COOKIE' else ', '}{field.value}"
        return found

    def asks_cache(self) -> bool:
        """Return False if the request surely has no field for caches (a condition, a range, a directive) and no Upgrade."""
        if self.fields is None or self._environ is not None:
            return True
        for field in self.fields:
            if field.for_cache:
                return True
        return False

    def sent_method(self) -> str:
        """Return the method of the request line, which an error page or a redirect may have replaced in `method`."""
        if self._environ is None and self.writer is not None:
            sent: str = self.writer.method
            return sent
        return self.environ.get("REQUEST_METHOD") or self.method


def take_raw(exchange: Exchange, pairs: Pairs) -> None:
    """Take the request as the worker read it."""
    environ = exchange.environ
    exchange.pairs = pairs
    exchange.fields = environ.get("wsgi_proxy.fields")
    exchange.target = exchange.raw_target = environ["RAW_URI"]
    if exchange.target[:1] != "/":
        take_other_form(exchange, True)
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
        take_other_form(exchange, authoritative)
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


def take_other_form(exchange: Exchange, authoritative: bool) -> None:
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
