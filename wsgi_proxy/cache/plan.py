"""The caching settings of a location, prepared at start, and the cache keys of its requests.

Rules:
- Without `proxy_cache_key`, the key is the target URI (RFC 9111, section 2) and the address that the location passes requests to.
  GET and HEAD share it. Virtual hosts never share entries, nor do two locations that answer for one URI (by `if`, by a rewrite).
- With `proxy_cache_key`, the key is its text (ngx_http_proxy_module, proxy_cache_key).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from ..errors import ClientError
from ..http import HOP_BY_HOP, listed, uri
from .rfc9111 import Pairs, Rules, Sent, Wishes, values, wishes

if TYPE_CHECKING:
    from ..config import CacheSettings, Location, Template
    from ..exchange import Exchange

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def is_set(templates: tuple[Template, ...], exchange: Exchange) -> bool:
    """Return True if at least one value is neither empty nor "0", nginx's test of a condition."""
    return any(value not in ("", "0") for value in (template(exchange) for template in templates))


def is_sliced(location: Location) -> bool:
    """Return True if requests of a location ask for parts: it has a `slice`, and sends `$slice_range`."""
    fields = location.proxy.set_header or ()
    return bool(location.core.slice) and any("slice_range" in getattr(value, "text", "") for _, value in fields)


class CachePlan:
    """The caching settings of one location, prepared at start."""

    __slots__ = (
        "background",
        "convert_head",
        "key",
        "location",
        "methods",
        "rules",
        "sent",
        "settings",
        "updating",
        "use_stale",
        "validate",
        "zone_name",
        "zone_of",
    )

    def __init__(self, location: Location, sent: Sent | None = None) -> None:
        self.location = location
        self.sent = sent
        """The fields of some names as the location forwards them; None for the fields as the client sent them."""
        self.settings = settings = location.cache
        constant = "" if settings.zone is None else getattr(settings.zone, "constant", None)
        self.zone_of: Template | None = settings.zone if constant is None else None
        self.zone_name: str = constant or ""
        self.key = key_template(settings, location)
        self.methods = settings.methods
        self.rules = Rules(location.proxy.ignore_headers, settings.valid, settings.methods, parts=is_sliced(location))
        self.use_stale = settings.use_stale or frozenset()
        self.updating = "updating" in self.use_stale
        self.background = settings.background_update
        self.validate = settings.revalidate is not False
        self.convert_head = settings.convert_head is not False

    def keys(self, exchange: Exchange) -> tuple[str, ...]:
        """Return every key under which a response for the target may be stored, whatever the method.

        With a `proxy_cache_key` that is the request's own key.
        """
        if self.settings.key is not None or "POST" not in self.methods:
            return (self.key(exchange),)
        return default_keys(exchange, self.location)

    def wishes(self, request: Pairs) -> Wishes:
        """Return the request's directives for the cache, as far as the location honours them."""
        return wishes(request, ruled=bool(self.rules.valid))


def target_uri(exchange: Exchange) -> str:
    """Return the absolute URI that the client asked for (RFC 9110, section 7.1), with its authority in lower case."""
    host = exchange.sent("HTTP_HOST") or exchange.host
    return f"{exchange.absolute or exchange.scheme}://{host.lower()}{exchange.target}"


def key_template(settings: CacheSettings, location: Location) -> Template:
    """Return a function that makes the key of a request."""
    if settings.key is not None:
        return settings.key
    if location.proxy.pass_ is not None and location.proxy.pass_.template is not None:
        return lambda x: target_uri(x) + _suffix(x, location) + (" " + x.method if x.method == "POST" else "")
    suffix = _suffix(None, location)
    if settings.methods <= {"GET", "HEAD"}:
        return lambda x: target_uri(x) + suffix
    # Other methods that are cached (proxy_cache_methods) have other responses.
    return lambda x: target_uri(x) + suffix + (" " + x.method if x.method == "POST" else "")


def default_keys(exchange: Exchange, location: Location) -> tuple[str, str]:
    """Return the keys of a target without a configured key: that of GET and HEAD, and that of POST."""
    key = target_uri(exchange) + _suffix(exchange, location)
    return key, key + " POST"


def _suffix(exchange: Exchange | None, location: Location) -> str:
    """Return the address that the location passes requests to, with the values of its variables for an exchange."""
    passed = location.proxy.pass_
    if passed is None:
        return ""
    return " " + (passed.url if passed.template is None or exchange is None else passed.template(exchange))


def withheld(exchange: Exchange) -> bool:
    """Return True if the request's Connection lists one of its fields, which a `proxy_cache_key` may name.

    The upstream does not get that field, so its response would belong to another request than the key says.
    """
    names = listed(exchange.environ.get("HTTP_CONNECTION", "")) - HOP_BY_HOP
    return bool(names) and any(name.lower() in names for name, _ in exchange.pairs)


def affected(exchange: Exchange, response: Pairs) -> Iterator[Exchange]:
    """Yield the exchanges whose keys an unsafe request voids (RFC 9111, section 4.4).

    They are its own, and those with the targets in Location and Content-Location, if these have the same origin.
    """
    yield exchange
    here = target_uri(exchange)
    origin = _origin(here)
    seen = {here}
    for name in ("location", "content-location"):
        for value in values(response, name)[:1]:
            try:
                there = urljoin(here, value.strip(" \t")).partition("#")[0]
                same = _origin(there) == origin
            except ValueError:
                continue
            if same and there not in seen:
                seen.add(there)
                other = _with_target(exchange, there)
                if other is not None:
                    yield other


def _origin(target: str) -> tuple[str, str, int | None]:
    parts = urlsplit(target)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _with_target(exchange: Exchange, there: str) -> Exchange | None:
    """Return the same request for another target; None for a target that no client could send."""
    parts = urlsplit(there)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    other = exchange.copy()
    other.target = target
    try:
        other.uri, other.args = uri.normalise(target)
    except ClientError:
        return None
    return other
