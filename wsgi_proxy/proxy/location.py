"""CompiledLocation: everything about one location that is known before the first request.

Rules:
- The router makes one at the start for each location, each server's settings and each `if`, and puts it on the exchange
  together with the location. The request path looks nothing else up by location.
- Parts that a location does not use are None.
- Settings that each request asks for are attributes here, because an attribute of a compiled object costs less than a look-up in
  the configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..cache import CachePlan, is_sliced
from ..config import FORWARDING
from ..exchange import Exchange
from ..filters import Filters, compile_filters
from ..response import Response
from .forwarder import Forwarder
from .response_headers import compile_finisher

if TYPE_CHECKING:
    from ..access import AccessPlan
    from ..config import Location, ServerBlock
    from .targets import Target, Targets


class CompiledLocation:
    """One location ready for requests. `handler` answers where the location does not forward."""

    __slots__ = (
        "access", "alters_body", "browsers", "cache", "client_limits", "counter", "early_hints", "filters", "finisher",
        "force_ranges", "forwarder", "gateway", "handler", "intercepts", "location", "method", "mirrored", "paced", "rate",
        "slice", "stores", "target", "traced", "tries", "tries_files", "watches_client",
    )  # fmt: skip

    def __init__(
        self,
        location: Location,
        server: ServerBlock,
        access: AccessPlan,
        targets: Targets,
        handler: Callable[[Exchange], Response] | None,
        counter: Any = None,
    ) -> None:
        self.location = location
        self.counter = counter
        """Counts the requests that the location has answered (`status.Counter`); None if they are not counted."""
        self.access = access
        self.handler = handler
        """The function that answers; None for `proxy_pass`, `fastcgi_pass` and the like."""
        self.finisher = compile_finisher(location)
        """Applies `add_header`, `expires` and `add_trailer`; None without them."""
        self.filters: Filters | None = compile_filters(location)
        """Adapt responses and their bodies (`charset`, `gzip`); None without them."""
        self.traced = location.core.trace is not None
        """`otel_trace` decides about the span of each request."""
        core, proxy = location.core, location.proxy
        self.paced = core.limit_rate is not None
        self.browsers = core.keepalive_disable
        self.tries_files = bool(core.try_files)
        self.mirrored = bool(core.mirror)
        self.early_hints = bool(core.early_hints)
        self.method = proxy.method
        self.gateway = proxy.gateway
        self.alters_body = proxy.set_body is not None
        """The upstream gets another body than the client's, also for a request without one."""
        self.watches_client = not proxy.ignore_client_abort
        self.intercepts = proxy.intercept_errors
        self.rate = proxy.limit_rate
        """`proxy_limit_rate`; None without it."""
        self.tries = proxy.next_upstream_tries
        self.stores = proxy.store is not False and proxy.buffering
        self.force_ranges = proxy.force_ranges
        self.slice = location.core.slice if is_sliced(location) else 0
        """The size of the parts in which responses are fetched; 0 for whole ones."""
        self.client_limits: dict[Any, Any] = {}
        """The keep-alive settings and timeouts of this location by listener; filled by the worker."""
        self.forwarder: Forwarder | None = None
        self.target: Target | None = None
        """The target of `proxy_pass`; None if it has variables."""
        self.cache: CachePlan | None = None
        if location.handler in FORWARDING:
            self.forwarder = forwarder = Forwarder(
                location, underscores=server.underscores_in_headers, ignore_invalid=server.ignore_invalid_headers
            )
            self.target = targets.fixed(location.proxy)
            if location.cache.zone is not None:
                self.cache = CachePlan(location, forwarder.sent)
