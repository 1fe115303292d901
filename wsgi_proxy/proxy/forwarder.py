"""Forwarder: the header fields of one location, towards the upstream and back to the client.

Rules:
- Each location with `proxy_pass` has one Forwarder, made at the start. A request only evaluates the values that vary.
- The request head has nginx's order: the fields that the configuration sets, then nginx's defaults that it does not set, then the
  client's other fields.
- The proxy itself sends `Connection` and `Upgrade`. It asks for an upgrade only if the client did, so that a fixed
  `Connection 'upgrade'` in a configuration does not end keep-alive.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from ..config import default_redirect
from ..errors import ProxyError
from ..gateway import Variables
from ..http import behind, escape, headers, printable, single_line, tokens, with_flags
from ..routing import absolute

if TYPE_CHECKING:
    from ..cache import Fetch
    from ..config import Location, Rewriter, Template
    from ..exchange import Exchange
    from ..http import Pairs
    from .request_body import Upload

_CONDITIONS: Final = frozenset({"if-modified-since", "if-unmodified-since", "if-none-match", "if-match", "range", "if-range"})
"""The conditional fields of a client, which the cache answers instead of the upstream (ngx_http_proxy_module, proxy_cache)."""

_HOST: Final = frozenset({"Host: ", "host: ", "HOST: "})
_UPGRADE_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z/-]+")


class Forwarder:
    """The fields that one location sends to its upstream and to its clients."""

    __slots__ = (
        "_responses",
        "_connection",
        "_filter",
        "_host",
        "_trusting",
        "_verbatim",
        "_set",
        "_stored",
        "_upgrade",
        "_variables",
        "_version",
        "cookies",
        "keep_prefix",
        "location",
        "may_close",
        "redirects",
        "settings",
        "uri_part",
    )

    def __init__(self, location: Location, *, underscores: bool = False, ignore_invalid: bool = True) -> None:
        self.location = location
        self.settings = settings = location.proxy
        target = settings.pass_
        self._version = settings.http_version
        self._variables = None if settings.gateway is None else Variables(settings.gateway)
        self._connection: Template | None = None
        self._upgrade: Template | None = None
        self._set: list[tuple[str, Template | None]] = []
        replaced: set[str] = set()
        for name, value in settings.set_header or ():
            replaced.add(name.lower())
            self._take_set_header(name, value)
        self._host = "host" not in replaced
        self.may_close = self._may_close()
        dropped = headers.REQUEST_DROPPED if settings.gateway is None else headers.GATEWAY_DROPPED
        self._filter, self._trusting = (
            headers.RequestFilter(
                replaced, trusted=trusted, underscores=underscores, ignore_invalid=ignore_invalid, dropped=dropped
            )
            for trusted in (settings.pass_forwarded, True)
        )
        self._verbatim = target is not None and target.verbatim
        self.uri_part = target.uri if target is not None else None
        self.keep_prefix = len(location.pattern) if location.kind in ("", "=", "^~") else 0
        self.redirects: tuple[Rewriter, ...] = self._redirects() if settings.gateway is None else ()
        self.cookies = bool(settings.cookie_domain or settings.cookie_path or settings.cookie_flags)
        changed = (("location", "refresh") if self.redirects else ()) + (("set-cookie",) if self.cookies else ())
        always = headers.RESPONSE_HIDDEN
        if settings.gateway is not None:
            always = headers.GATEWAY_HIDDEN if settings.gateway.protocol == "uwsgi" else headers.GATEWAY_HIDDEN | {"status"}
        hidden = headers.hidden_names(settings.hide_header, settings.pass_header, always)
        self._responses = headers.ResponseFilter(hidden, changed)
        # A stored response keeps the Date of its origin (RFC 9111, section 4.2.3), unless the configuration hides it.
        dateless = "date" in {name.lower() for name in settings.hide_header}
        self._stored = headers.ResponseFilter(hidden if dateless else hidden - {"date"}, changed)

    def _take_set_header(self, name: str, value: Template) -> None:
        lower = name.lower()
        constant = getattr(value, "constant", None)
        if lower == "connection":
            self._connection = value
        elif lower == "upgrade":
            self._upgrade = value
        elif lower in ("content-length", "transfer-encoding"):
            pass  # the transport frames the body, and a configured value could only contradict it
        elif constant is None:
            self._set.append((name + ": ", value))
        elif constant:
            self._set.append((f"{name}: {single_line(constant)}", None))

    def _may_close(self) -> bool:
        """Return False if no head of this location has `Connection: close`."""
        constant = "" if self._connection is None else getattr(self._connection, "constant", None)
        return constant is None or "close" in constant.lower() or self._version == "1.0"

    def _redirects(self) -> tuple[Rewriter, ...]:
        """Return the rewriters of `proxy_redirect`; by default one that turns the pass URL into the location's prefix."""
        if self.settings.redirect is not None:
            return self.settings.redirect
        target = self.settings.pass_
        if target is None or target.template is not None:
            return ()
        return (default_redirect(target, self.location.pattern),)

    def target(self, exchange: Exchange) -> str:
        """Return the request target for the upstream, by default the client's (ngx_http_proxy_module, proxy_pass)."""
        path, rest = self.uri_part, exchange.uri
        if path is None:
            if not exchange.uri_changed:
                return exchange.target
            path = ""
        elif exchange.rewritten_in_place:
            # `rewrite … break`: the new URI replaces that of proxy_pass.
            path = ""
        else:
            if self._verbatim:
                # `//` at the start would be read as an authority (RFC 3986, section 3.3).
                raw = behind(exchange.target, self.location.pattern)
                if raw is not None:
                    return path + (raw.lstrip("/") if path == "/" else raw)
            rest = rest[self.keep_prefix :]
            if self._verbatim and path == "/":
                rest = rest.lstrip("/")
        path += escape(rest) if exchange.internal or "%" in exchange.target else rest
        if exchange.args:
            path += f"?{printable(exchange.args)}" if exchange.uri_changed else f"?{exchange.args}"
        return path

    def sent(self, exchange: Exchange, names: Collection[str]) -> Pairs:
        """Return the fields with these lower-case names as `head` sends them; a cache selects by them (RFC 9111, section 4.1)."""
        found = []
        for prefix, value in self._set:
            name, _, text = prefix.partition(": ")
            if name.lower() in names:
                text = text if value is None else single_line(value(exchange))
                if text:
                    found.append((name, text))
        if self.settings.pass_request_headers:
            chosen = self._trusting if exchange.trusted_peer else self._filter
            named = [pair for pair in exchange.pairs if pair[0].lower() in names]
            for line in chosen.copy(named, exchange.environ.get("HTTP_CONNECTION", "")):
                name, _, text = line.partition(": ")
                found.append((name, text))
        return found

    def head(self, exchange: Exchange, method: str, target: str, upload: Upload | None, fetch: Fetch | None = None) -> bytes:
        """Return the request head with its CRLF CRLF, or a gateway's variables.

        A cache's `fetch` adds conditions, or drops the client's.
        """
        if self._variables is not None:
            return self._gateway_head(exchange, upload, fetch)
        lines = [f"{method} {target} HTTP/{self._version}"]
        if self._host:
            lines.append(f"Host: {exchange.proxy_host}")
        for prefix, value in self._set:
            if value is None:
                lines.append(prefix)
            else:
                text = single_line(value(exchange))
                if text:
                    lines.append(prefix + text)
                elif prefix in _HOST and self._version != "1.0":
                    # An HTTP/1.0 client sent no Host, but an HTTP/1.1 request has one (RFC 9112, section 3.2).
                    lines.append(prefix + exchange.proxy_host)
        self._add_connection(exchange, lines)
        if upload is not None:
            lines.append(f"Content-Length: {upload.length}" if upload.length is not None else "Transfer-Encoding: chunked")
        checked: list[bytes] = []
        if self.settings.pass_request_headers:
            if exchange.fields is not None and fetch is None and method != "OPTIONS":
                chosen = self._trusting if exchange.trusted_peer else self._filter
                checked = chosen.lines(exchange.fields, exchange.sent("HTTP_CONNECTION") or "")
            else:
                lines += self._fields(exchange, method, fetch)
        whole = "".join(lines)
        if "\n" in whole or "\r" in whole or "\0" in whole:
            raise ProxyError("a line of the request for the upstream has a line break in it")
        return b"\r\n".join(["\r\n".join(lines).encode("latin-1"), *checked, b"\r\n"])

    def _fields(self, exchange: Exchange, method: str, fetch: Fetch | None) -> list[str]:
        """Return the lines of the client's fields, with a cache's changes or one forward less of an OPTIONS."""
        chosen = self._trusting if exchange.trusted_peer else self._filter
        kept = chosen.copy(exchange.pairs, exchange.environ.get("HTTP_CONNECTION", ""))
        if method == "OPTIONS" and (hops := headers.hops_left(exchange.environ.get("HTTP_MAX_FORWARDS", ""))) is not None:
            kept = [f"Max-Forwards: {hops}" if line.lower().startswith("max-forwards:") else line for line in kept]
        if fetch is not None:
            if fetch.drop_conditions:
                kept = [line for line in kept if line.partition(":")[0].lower() not in _CONDITIONS]
            kept += [f"{name}: {value}" for name, value in fetch.extra]
        return kept

    def _gateway_head(self, exchange: Exchange, upload: Upload | None, fetch: Fetch | None) -> bytes:
        """Return the CGI variables as the location's protocol sends them."""
        assert self._variables is not None
        exchange.upgrade = ""
        length = None if upload is None else upload.length
        pairs: Pairs = exchange.pairs if self.settings.pass_request_headers else []
        if fetch is not None and self.settings.pass_request_headers:
            if fetch.drop_conditions:
                pairs = [pair for pair in pairs if pair[0].lower() not in _CONDITIONS]
            pairs = pairs + fetch.extra
        chosen = self._trusting if exchange.trusted_peer else self._filter
        return self._variables.head(exchange, pairs, chosen, length, edited=fetch is not None)

    def _add_connection(self, exchange: Exchange, lines: list[str]) -> None:
        """Add Connection: for an upgrade that the client asked for, or for `close`."""
        exchange.upgrade = ""
        value = "" if self._connection is None or not (self.may_close or self._upgrade) else self._connection(exchange).lower()
        if self._upgrade is not None and "upgrade" in value:
            upgrade = self._upgrade(exchange)
            if upgrade and _asked(exchange, upgrade):
                exchange.upgrade = upgrade
                lines.append("Connection: upgrade")
                lines.append(f"Upgrade: {upgrade}")
                return
        if "close" in value or self._version == "1.0":
            lines.append("Connection: close")

    def response_headers(self, exchange: Exchange, pairs: Pairs, *, stored: bool = False) -> Pairs:
        """Return the upstream's fields as the client gets them; `stored` is True for those of a cache entry."""
        kept, changed = (self._stored if stored else self._responses).to_client(pairs)
        if changed:
            for number, (name, value) in enumerate(kept):
                lower = name.lower()
                if lower == "location" and self.redirects:
                    kept[number] = (name, _location(exchange, self.redirects, value))
                elif lower == "refresh" and self.redirects:
                    kept[number] = (name, self._refresh(exchange, value))
                elif lower == "set-cookie" and self.cookies:
                    kept[number] = (name, self._cookie(exchange, value))
        return kept

    def _refresh(self, exchange: Exchange, value: str) -> str:
        head, mark, url = value.partition("url=")
        return head + mark + _first_rewritten(exchange, self.redirects, url) if mark else value

    def _cookie(self, exchange: Exchange, value: str) -> str:
        """Return a Set-Cookie value after `proxy_cookie_domain`, `proxy_cookie_path` and `proxy_cookie_flags`."""
        parts = value.split(";")
        for number, part in enumerate(parts[1:], 1):
            key, _, text = part.partition("=")
            lower = key.strip().lower()
            rewriters = {"domain": self.settings.cookie_domain, "path": self.settings.cookie_path}.get(lower)
            if rewriters:
                parts[number] = f"{key}={_first_rewritten(exchange, rewriters, text)}"
        for matcher, flags in self.settings.cookie_flags:
            if matcher(exchange, parts[0].partition("=")[0].strip()):
                parts = with_flags(parts, {flag if isinstance(flag, str) else flag(exchange).lower() for flag in flags})
                break
        return ";".join(parts)


def _asked(exchange: Exchange, upgrade: str) -> bool:
    """Return True if an HTTP/1.1 client asked for an upgrade in Connection and it is not h2c (RFC 9113, section 3.1)."""
    if exchange.protocol != "HTTP/1.1" or "upgrade" not in tokens(exchange.environ.get("HTTP_CONNECTION", "")):
        return False
    names = tokens(upgrade)
    return "h2c" not in names and all(_UPGRADE_TOKEN.fullmatch(name) for name in names)


def _first_rewritten(exchange: Exchange, rewriters: tuple[Callable[[Exchange, str], str | None], ...], value: str) -> str:
    for rewriter in rewriters:
        changed = rewriter(exchange, value)
        if changed is not None:
            return single_line(changed)
    return value


def _location(exchange: Exchange, rewriters: tuple[Rewriter, ...], value: str) -> str:
    """Return a Location after `proxy_redirect`. A path that a rule made is subject to `absolute_redirect`, the upstream's own is
    not (ngx_http_upstream_rewrite_location).
    """
    for rewriter in rewriters:
        changed = rewriter(exchange, value)
        if changed is not None:
            return absolute(exchange, changed)
    return value
