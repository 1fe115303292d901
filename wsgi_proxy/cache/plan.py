"""What a location says about caching, made ready once: `proxy_cache_*` as the cache room uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .key import default_keys, key_template
from .rfc9111 import Pairs, Rules, Sent, Wishes, wishes

if TYPE_CHECKING:
    from ..config import Location, Template
    from ..exchange import Exchange


def is_set(templates: tuple[Template, ...], exchange: Exchange) -> bool:
    """nginx's test: at least one value is neither empty nor 0."""
    return any(value not in ("", "0") for value in (template(exchange) for template in templates))


class CachePlan:
    """What a location says about caching, made ready once."""

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
        self.rules = Rules(location.proxy.ignore_headers, settings.valid, settings.methods)
        self.use_stale = settings.use_stale or frozenset()
        self.updating = "updating" in self.use_stale
        self.background = settings.background_update
        self.validate = settings.revalidate is not False
        self.convert_head = settings.convert_head is not False

    def keys(self, exchange: Exchange) -> tuple[str, ...]:
        """Every key under which an answer for the target of x may lie, whatever the method; its own where one is configured."""
        if self.settings.key is not None or "POST" not in self.methods:
            return (self.key(exchange),)
        return default_keys(exchange, self.location)

    def wishes(self, request: Pairs) -> Wishes:
        """What a request asks of the cache, as far as the location lets it."""
        return wishes(request, ruled=bool(self.rules.valid))
