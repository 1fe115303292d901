"""`upstream` and its directives: servers, balancing methods, kept connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...balance import POLICIES, conflicts
from ...config import Policy, Server, Upstream
from ...http import file_name
from ...upstream import parse
from . import values
from .cluster import require as require_cluster
from .core import take_resolver
from .row import Bad, BadValue, Level, Row, Statement, listed, special, value

if TYPE_CHECKING:
    pass

_SMALLEST_ZONE = 8 * 4096


def _upstream(level: Level, statement: Statement) -> None:
    reading = level.reading
    name = statement.args[0]
    if name.lower() in reading.upstreams:
        raise Bad(f'duplicate upstream "{name}"')
    inner = reading.enter(level, "upstream", statement)
    level.inner.remove(inner)
    before = len(reading.faults)
    assert statement.block is not None
    reading.walk(inner, statement.block)
    servers: list[Server] = inner.own.pop("upstream.servers", [])
    if len(reading.faults) > before:
        servers = servers or [Server("127.0.0.1")]
    if not servers:
        raise Bad("no servers are inside upstream")
    for message, server in conflicts(inner.own.get("upstream.policy", Policy()), servers):
        reading.fault(message, server.place)
    if all(server.backup for server in servers) and len(reading.faults) == before:
        raise Bad(f'no servers in upstream "{name}"')
    settings = {target.partition(".")[2]: value for target, value in inner.own.items() if target.startswith("upstream.")}
    reading.upstreams[name.lower()] = Upstream(name, tuple(servers), place=statement.place, **settings)


# --- server -----------------------------------------------------------------------------------------------------------------


def _server(level: Level, args: list[str]) -> Server:
    address, *parameters = args
    _check_address(address)
    settings: dict[str, Any] = {}
    for parameter in parameters:
        settings.update(_parameter(parameter))
    if level.parent is None:
        raise BadValue("has no place")
    if "service" in settings:
        _check_service(level, address, settings)
    return Server(file_name(address), place=level.reading.names.place, **settings)


def _parameter(text: str) -> dict[str, Any]:
    """Return the fields of a server that a parameter sets."""
    key, equals, rest = text.partition("=")
    found: Any = None
    if not equals:
        if key in ("backup", "down", "drain", "resolve"):
            return {key: True}
    elif key in ("weight", "max_fails", "max_conns"):
        found = values.parse_number(rest)
        if key == "weight" and found == 0:
            found = None
    elif key in ("fail_timeout", "slow_start"):
        found = values.parse_time(rest, milliseconds=False)
    elif key == "route":
        found = rest or None
    elif key == "service":
        if not rest:
            raise Bad("service is empty")
        found = rest
    if found is None:
        raise Bad(f'invalid parameter "{text}"')
    return {key: found}


def _check_service(level: Level, address: str, settings: dict[str, Any]) -> None:
    """Check a server whose addresses come from SRV records."""
    reading, name = level.reading, level.statement.args[0] if level.statement else ""
    if not settings.get("resolve"):
        raise Bad(f'service upstream "{address}" requires "resolve" parameter')
    if ":" in address:
        raise Bad(f'service upstream "{address}" may not have port')
    if not parse(address).is_name:
        raise Bad(f'service upstream "{address}" requires domain name')

    def resolver() -> None:
        http = level.outer("http")
        if "upstream.resolver" not in level.own and (http is None or "core.resolver" not in http.own):
            raise Bad(f'no resolver defined to resolve names at run time in upstream "{name}"')

    reading.later(level.place, resolver)


def _check_address(address: str) -> None:
    """Raise Bad if the text is no address. Names are looked up later."""
    if "/" in address and not address.startswith("unix:"):
        raise Bad(f'invalid host in upstream "{address}"')
    if address.startswith(":"):
        raise Bad(f'no host in upstream "{address}"')
    try:
        parse(address)
    except ValueError as error:
        raise Bad(str(error).replace(f' in "{address}"', f' in upstream "{address}"')) from None


# --- methods ----------------------------------------------------------------------------------------------------------------


def _choose(level: Level, policy: Policy, statement: Statement) -> None:
    if "upstream.policy" in level.own:
        level.reading.warn("load balancing method redefined", statement.place)
    level.own["upstream.policy"] = policy


def _plain_method(name: str) -> Row:
    return special(
        name, "upstream", "NOARGS", lambda level, statement: _choose(level, Policy(name), statement), "upstream.policy"
    )


def _hash(level: Level, statement: Statement) -> None:
    key, *rest = statement.args
    if rest and rest != ["consistent"]:
        raise Bad(f'invalid parameter "{rest[0]}"')
    _choose(level, Policy("hash", level.template(key), tuple(rest)), statement)


def _random(level: Level, statement: Statement) -> None:
    args = statement.args
    if args and args[0] != "two":
        raise Bad(f'invalid parameter "{args[0]}"')
    if len(args) > 1 and args[1] not in ("least_conn", "least_time=header", "least_time=last_byte"):
        raise Bad(f'invalid parameter "{args[1]}"')
    _choose(level, Policy("random", options=tuple(args)), statement)


def _least_time(level: Level, statement: Statement) -> None:
    what, *rest = statement.args
    if what not in ("header", "last_byte"):
        raise Bad(f'invalid value "{what}"')
    if rest and rest != ["inflight"]:
        raise Bad(f'invalid parameter "{rest[0]}"')
    _choose(level, Policy("least_time", options=tuple(statement.args)), statement)


def _method(level: Level, statement: Statement) -> None:
    """Set a user's policy, `my.package:thing`. Not in nginx."""
    name = statement.args[0]
    if ":" not in name:
        raise Bad(f'invalid parameter "{name}"')
    _choose(level, Policy(name), statement)


# --- connections, zones, queues ---------------------------------------------------------------------------------------------


def _keepalive(level: Level, args: list[str]) -> int:
    number = values.parse_number(args[0])
    if number is None:
        raise Bad(f'invalid value "{args[0]}" in "keepalive" directive')
    if len(args) > 1 and args[1] != "local":
        raise Bad(f'invalid parameter "{args[1]}"')
    return number


def _zone(level: Level, statement: Statement) -> None:
    name, *rest = statement.args
    if rest[-1:] == ["sync"]:
        rest.pop()
        require_cluster(level, statement)
        level.own["upstream.sync"] = True
    if len(rest) > 1:
        raise Bad(f'invalid parameter "{rest[1]}"')
    if rest:
        size = values.parse_size(rest[0])
        if size is None:
            raise Bad(f'invalid zone size "{rest[0]}"')
        if size < _SMALLEST_ZONE:
            raise Bad(f'zone "{name}" is too small')
        level.reading.sized_zones.add(name)

    def sized() -> None:
        if name not in level.reading.sized_zones:
            raise Bad(f'zero size shared memory zone "{name}"')

    level.reading.later(statement.place, sized)
    level.own["upstream.zone"] = name


def _queue(level: Level, statement: Statement) -> None:
    number, *rest = statement.args
    if "upstream.queue" in level.own:
        raise BadValue("is duplicate")
    level.own["upstream.queue"] = values.number(level, [number])
    if rest:
        seconds = values.parse_time(rest[0].removeprefix("timeout=")) if rest[0].startswith("timeout=") else None
        if seconds is None:
            raise Bad(f'invalid parameter "{rest[0]}"')
        level.own["upstream.queue_timeout"] = seconds


ROWS: tuple[Row, ...] = (
    special("upstream", "http", "BLOCK TAKE1", _upstream),
    listed(
        "server",
        "upstream",
        "1MORE",
        "upstream.servers",
        _server,
    ),
    *(_plain_method(name) for name, method in POLICIES.items() if method.directive),
    special("hash", "upstream", "TAKE12", _hash, "upstream.policy"),
    special("random", "upstream", "TAKE012", _random, "upstream.policy"),
    special("least_time", "upstream", "TAKE12", _least_time, "upstream.policy"),
    special("balance", "upstream", "TAKE1", _method, "upstream.policy"),
    special("zone", "upstream", "TAKE123", _zone, "upstream.zone"),
    value("keepalive", "upstream", "TAKE12", "upstream.keepalive", _keepalive),
    value("keepalive_requests", "upstream", "TAKE1", "upstream.keepalive_requests", values.number),
    value("keepalive_time", "upstream", "TAKE1", "upstream.keepalive_time", values.time),
    value("keepalive_timeout", "upstream", "TAKE1", "upstream.keepalive_timeout", values.time),
    special("queue", "upstream", "TAKE12", _queue, "upstream.queue"),
    special("resolver", "upstream", "1MORE", take_resolver, "upstream.resolver"),
    value("resolver_timeout", "upstream", "TAKE1", "upstream.resolver_timeout", values.time),
)
