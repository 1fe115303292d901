"""The guard: whether a request may go on from the place it was routed to, asked in nginx's order of phases.

    TLS, real address → internal, body size → limit_req → limit_conn → allow/deny, auth_basic, auth_request (with `satisfy`)

Rules:
- What a place asks is put together once, when its first request comes; a place that asks nothing costs a look-up.
- A check is a callable of the exchange. Those before the access phase return or raise; those of the access phase give True
  (let in) or False (no opinion), or raise a Refusal.
- With `satisfy all` every check must not refuse; with `any` one that lets in is enough, and of the refusals a challenge is
  what the client gets.
- A subrequest was let in with the request it serves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import ClientError, Refusal
from ..limits import ConnectionCheck, ConnectionZone, RateCheck, RateZone
from ..logs import errorlog
from . import client_certificate
from .addresses import AddressCheck, RealAddress
from .auth import BasicCheck, RequestCheck, Subrequest

if TYPE_CHECKING:
    from ..config import Config, GuardSettings
    from ..exchange import Exchange
    from ..limits import Memory


class AccessPlan:
    """What is asked in a place."""

    __slots__ = ("access", "before", "excepted", "internal", "methods", "real_address", "satisfy_any", "settings")

    def __init__(self, settings: GuardSettings) -> None:
        self.settings = settings
        """Kept so that its id stays its own."""
        self.internal = settings.internal
        self.real_address = RealAddress(settings) if settings.real_ip_from else None
        self.before: tuple[Callable[[Exchange], None], ...] = ()
        self.access: tuple[Callable[[Exchange], bool], ...] = ()
        self.satisfy_any = settings.satisfy_any
        self.methods: frozenset[str] | None = None
        """With `limit_except`: the methods that `access` holds for; `excepted` is asked for all others."""
        self.excepted: AccessPlan | None = None


class Guard:
    """All checks of a configuration. `subrequest(x, uri)` is set by whoever can answer requests, for auth_request."""

    subrequest: Subrequest

    def __init__(self, config: Config, memory: Memory) -> None:
        self._config = config
        self._rates = {name: RateZone(zone, memory) for name, zone in config.limit_req_zones.items()}
        self._connections = {name: ConnectionZone(zone, memory) for name, zone in config.limit_conn_zones.items()}
        self._plans: dict[int, AccessPlan] = {}

    def enter(self, exchange: Exchange) -> None:
        """As soon as the request's server is known, before its scripts run: what the connection allows, and who the client is.

        Refusal for a TLS connection that may not make this request; else `x.remote_addr` is the client's (`set_real_ip_from`).
        """
        server = exchange.server
        if server.tls is not None:
            client_certificate.check(exchange)
        settings = server.settings.guard
        if settings.real_ip_from:
            plan = self._plans.get(id(settings)) or self._make(settings)
            if plan.real_address is not None:
                plan.real_address.apply(exchange)

    def admit(self, exchange: Exchange) -> None:
        """Return when the request may go on; ClientError (a Refusal where it carries headers) when it may not."""
        location = exchange.location
        settings = location.guard
        plan = self._plans.get(id(settings)) or self._make(settings)
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
        """Put together what these settings ask."""
        plan = AccessPlan(settings)
        if settings.limit_req:
            plan.before += (RateCheck(settings, self._rates),)
        if settings.limit_conn:
            plan.before += (ConnectionCheck(settings, self._connections),)
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
    """`satisfy any`: return when one check lets in, or when none has an opinion."""
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


# --- the body's size --------------------------------------------------------------------------------------------------------


def bound_body(exchange: Exchange, limit: int) -> None:
    """`client_max_body_size`: 413 for a body that says it is longer, before it is read; a chunked one is counted as it comes."""
    # A request that was refused for its body goes on to the error page without it.
    if not limit or exchange.error_status:
        return
    if exchange.content_length is not None and exchange.content_length > limit:
        errorlog.line("error", f"client intended to send too large body: {exchange.content_length} bytes", exchange)
        exchange.drop_body()
        raise Refusal(status=413)
    if exchange.chunked and not isinstance(exchange.input, BoundedInput):
        exchange.input = BoundedInput(exchange, limit)


class BoundedInput:
    """A chunked body that may not become longer than `limit` bytes: the read that goes beyond raises ClientError(413).

    Where the server can tell what the chunks announce (`bound`), that counts, before it has come (ngx_http_request_body).
    """

    __slots__ = ("_exchange", "_input", "_limit", "_taken")

    def __init__(self, exchange: Exchange, limit: int) -> None:
        self._exchange = exchange
        self._input: Any = exchange.input
        self._limit = limit
        self._taken = 0

    def read(self, size: int | None = -1) -> bytes:
        # One byte more than is allowed tells an endless body from one that fits.
        left = self._limit - self._taken + 1
        return self._count(self._asked(self._input.read, left if size is None or size < 0 else min(size, left)))

    def read1(self, size: int = -1) -> bytes:
        left = self._limit - self._taken + 1
        # Not every server's body can give what is there.
        read = getattr(self._input, "read1", None) or self._input.read
        return self._count(self._asked(read, left if size < 0 else min(size, left)))

    @property
    def interruptible(self) -> bool:
        """Whether `wait` can end a wait for the client."""
        return getattr(self._input, "interruptible", False)

    def wait(self, other: int) -> bool:
        """As RequestBody's, where the server hands over such a one."""
        wait = getattr(self._input, "wait", None)
        return wait is None or bool(wait(other))

    def check(self) -> None:
        """Raises what is already certain: chunks that are too large, or broken."""
        self._asked(self._checked, 0)

    def _checked(self, size: int) -> bytes:
        check = getattr(self._input, "check", None)
        if check is not None:
            check()
        return b""

    def _asked(self, read: Callable[[int], bytes], size: int) -> bytes:
        try:
            if not self._taken and (bound := getattr(self._input, "bound", None)) is not None:
                bound(self._limit)
            return read(size)
        except ClientError as error:
            if error.status != 413:
                raise
            errorlog.line("error", f"client intended to send too large chunked body: {error}", self._exchange)
            raise ClientError(status=413) from error

    def _count(self, block: bytes) -> bytes:
        self._taken += len(block)
        if self._taken > self._limit:
            before = self._taken - len(block)
            errorlog.line("error", f"client intended to send too large chunked body: {before}+{len(block)} bytes", self._exchange)
            raise ClientError(status=413)
        return block

    @property
    def trailers(self) -> Any:
        """The body's trailer fields, where the server hands them over."""
        return getattr(self._input, "trailers", None)
