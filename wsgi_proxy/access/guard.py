"""The checks that admit a request to its location, in nginx's order of phases.

    TLS, real address → internal, body size → limit_req → limit_conn → allow/deny, auth_basic, auth_request (with `satisfy`)

Rules:
- The checks of a location are made once, as an AccessPlan. A location without checks costs one look-up.
- A check is a callable that takes the exchange. A check before the access phase returns or raises. A check of the access phase
  returns True (admit) or False (no decision), or raises a Refusal.
- With `satisfy all` no check may refuse. With `satisfy any` one check that admits is enough, and a challenge takes precedence
  over a 403.
- A subrequest is admitted together with its parent request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..cluster import Membership, SharedConnections, SharedRates
from ..errors import ClientError, Refusal
from ..limits import ConnectionCheck, ConnectionZone, RateCheck, RateZone
from ..logs import errorlog
from . import client_certificate
from .addresses import AddressCheck
from .auth import BasicCheck, RequestCheck, Subrequest
from .body_limit import bound_body
from .real_address import RealAddress

if TYPE_CHECKING:
    from ..config import Config, GuardSettings
    from ..exchange import Exchange
    from ..limits import Memory


class AccessPlan:
    """The checks of one location."""

    __slots__ = ("access", "before", "excepted", "internal", "methods", "real_address", "satisfy_any", "settings")

    def __init__(self, settings: GuardSettings) -> None:
        self.settings = settings
        """Kept alive because its id is a key."""
        self.internal = settings.internal
        self.real_address = RealAddress(settings) if settings.real_ip_from else None
        self.before: tuple[Callable[[Exchange], None], ...] = ()
        self.access: tuple[Callable[[Exchange], bool], ...] = ()
        self.satisfy_any = settings.satisfy_any
        self.methods: frozenset[str] | None = None
        """With `limit_except`, the methods that `access` covers. `excepted` covers all others."""
        self.excepted: AccessPlan | None = None


class Guard:
    """All checks of a configuration.

    The application sets `subrequest(exchange, uri)`, which answers a subrequest for `auth_request`.
    """

    subrequest: Subrequest

    def __init__(self, config: Config, memory: Memory, membership: Membership | None = None) -> None:
        self._config = config
        self._rates = {name: RateZone(zone, memory) for name, zone in config.limit_req_zones.items()}
        self._connections = {name: ConnectionZone(zone, memory) for name, zone in config.limit_conn_zones.items()}
        self._shared_rates = None if membership is None else SharedRates(membership.link)
        shared = membership is not None and any(zone.sync for zone in config.limit_conn_zones.values())
        self._shared_connections = SharedConnections(membership) if shared and membership is not None else None
        self._plans: dict[int, AccessPlan] = {}

    def count_in(self, metrics: Any) -> None:
        """Count the decisions of each zone in these counters (`status.Metrics`)."""
        for name, rate in self._rates.items():
            rate.counter = metrics.limit("limit_req", name)
        for name, zone in self._connections.items():
            zone.counter = metrics.limit("limit_conn", name)

    def only_ask(self) -> None:
        """Count no request in the zones of `limit_req` from now on, and none of their decisions. The cluster is not asked."""
        for connections in self._connections.values():
            connections.sync = False
        for zone in self._rates.values():
            zone.counts = False
            zone.counter = None
            # The cluster's script counts, so this machine's own count is shown.
            zone.sync = False

    def plan(self, settings: GuardSettings) -> AccessPlan:
        """Return the checks of these settings, made once at the start and shared by locations with the same settings."""
        return self._plans.get(id(settings)) or self._make(settings)

    def enter(self, exchange: Exchange, plan: AccessPlan) -> None:
        """Check the client's TLS connection and set the client's real address. Runs before the rewrite directives of the server.

        Raises Refusal if the connection does not allow this request.
        """
        if exchange.server.tls is not None:
            client_certificate.check(exchange)
        if plan.real_address is not None:
            plan.real_address.apply(exchange)

    def admit(self, exchange: Exchange, plan: AccessPlan) -> None:
        """Return if the location admits the request. Raises ClientError, or Refusal if the response needs header fields."""
        location = exchange.location
        if plan.internal and not exchange.internal:
            raise Refusal(status=404)
        if exchange.method == "CONNECT" and location.handler != "tunnel_pass":
            raise ClientError("client sent CONNECT to a location without tunnel_pass", status=405)
        if exchange.chunked or exchange.content_length:
            bound_body(exchange, location.core.client_max_body_size)
        if exchange.subrequest:
            return
        if plan.real_address is not None:
            plan.real_address.apply(exchange)
        for step in plan.before:
            step(exchange)
        if plan.methods is not None and plan.excepted is not None and exchange.method not in plan.methods:
            plan = plan.excepted
        if plan.access:
            if plan.satisfy_any:
                _any(exchange, plan.access)
            else:
                for check in plan.access:
                    check(exchange)

    def _make(self, settings: GuardSettings) -> AccessPlan:
        """Make the checks of these settings."""
        plan = AccessPlan(settings)
        if settings.limit_req:
            plan.before += (RateCheck(settings, self._rates, shared=self._shared_rates),)
        if settings.limit_conn:
            plan.before += (ConnectionCheck(settings, self._connections, self._shared_connections),)
        plan.access = self._access(settings)
        if settings.limit_except is not None:
            methods, others = settings.limit_except
            # "Allowing the GET method makes the HEAD method also allowed" (ngx_http_core_module).
            plan.methods = methods | {"HEAD"} if "GET" in methods else methods
            plan.excepted = AccessPlan(others)
            plan.excepted.access = self._access(others)
        self._plans[id(settings)] = plan
        return plan

    def _access(self, settings: GuardSettings) -> tuple[Callable[[Exchange], bool], ...]:
        checks: list[Callable[[Exchange], bool]] = []
        if settings.access:
            checks.append(AddressCheck(settings.access, settings.satisfy_any))
        if settings.auth_basic is not None and settings.auth_basic_user_file is not None:
            checks.append(BasicCheck(settings.auth_basic, settings.auth_basic_user_file, self._config.prefix))
        if settings.auth_request:
            checks.append(RequestCheck(settings, lambda: self.subrequest))
        return tuple(checks)


def _any(exchange: Exchange, checks: tuple[Callable[[Exchange], bool], ...]) -> None:
    """Apply `satisfy any`: return if a check admits or none decides, else raise the Refusal."""
    worst: Refusal | None = None
    for check in checks:
        try:
            if check(exchange):
                return
        except Refusal as refusal:
            if worst is None or worst.status == 403:
                worst = refusal
    if worst is not None:
        if worst.status == 403:
            errorlog.line("error", "access forbidden by rule", exchange)
        raise worst
