"""The step from the levels that were read to the frozen model: inheritance, and checks that need the whole configuration.

Rules:
- The settings in force at a level are its parent's, updated by the level's. A few settings are never inherited.
- A location that changes nothing in a group of settings shares the group's object with the level around it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

from ...config import (
    AccessLog,
    AdditionSettings,
    BrotliSettings,
    CacheSettings,
    CharsetSettings,
    Config,
    CoreSettings,
    GatewaySettings,
    GuardSettings,
    GzipSettings,
    If,
    Instruction,
    Listen,
    Location,
    Main,
    ProxySettings,
    ServerBlock,
    SSISettings,
    SubSettings,
    TunnelSettings,
    UpstreamTLS,
    UserIDSettings,
)
from .addresses import check_certificates, shared_listens
from .charset import check_charset
from .gateways import MODULES, forwarding, join_params
from .log import log_format
from .reading import Reading
from .row import Level
from .tls import server_tls
from .values import path_template

NOT_INHERITED = frozenset(
    {
        "proxy.pass_",
        "proxy.health_checks",
        "tunnel.pass_",
        *(f"{module}.pass_" for module in MODULES),
        "core.try_files",
        "core.stub_status",
        "core.metrics",
        "guard.limit_except",
        "location.handler",
    }
)
"""Settings that are not inherited. Only an `if` keeps those of the location around it."""

_DEFAULT_TYPES = {"html": "text/html", "gif": "image/gif", "jpg": "image/jpeg"}
"""nginx's types without a `types` block (ngx_http_core_default_types)."""


@dataclass(frozen=True)
class Settings:
    """The settings in force at a level: every value by its name, and the groups made of the values."""

    values: dict[str, Any] = field(default_factory=dict)
    core: CoreSettings = CoreSettings()
    proxy: ProxySettings = ProxySettings()
    proxy_tls: UpstreamTLS = UpstreamTLS()
    cache: CacheSettings = CacheSettings()
    guard: GuardSettings = GuardSettings()
    tunnel: TunnelSettings = TunnelSettings()
    gzip: GzipSettings = GzipSettings()
    brotli: BrotliSettings = BrotliSettings()
    charset: CharsetSettings = CharsetSettings()
    userid: UserIDSettings = UserIDSettings()
    sub: SubSettings = SubSettings()
    fastcgi: ProxySettings = ProxySettings()
    fastcgi_cache: CacheSettings = CacheSettings()
    fastcgi_own: GatewaySettings = GatewaySettings("fastcgi")
    uwsgi: ProxySettings = ProxySettings()
    uwsgi_tls: UpstreamTLS = UpstreamTLS()
    uwsgi_cache: CacheSettings = CacheSettings()
    uwsgi_own: GatewaySettings = GatewaySettings("uwsgi")
    scgi: ProxySettings = ProxySettings()
    scgi_cache: CacheSettings = CacheSettings()
    scgi_own: GatewaySettings = GatewaySettings("scgi")
    ssi: SSISettings = SSISettings()
    addition: AdditionSettings = AdditionSettings()


_GROUPS: dict[str, Any] = {
    "core": CoreSettings,
    "proxy": ProxySettings,
    "proxy_tls": UpstreamTLS,
    "cache": CacheSettings,
    "guard": GuardSettings,
    "tunnel": TunnelSettings,
    "gzip": GzipSettings,
    "brotli": BrotliSettings,
    "charset": CharsetSettings,
    "userid": UserIDSettings,
    "sub": SubSettings,
    "uwsgi_tls": UpstreamTLS,
    **dict.fromkeys(MODULES, ProxySettings),
    **{f"{module}_cache": CacheSettings for module in MODULES},
    **{f"{module}_own": partial(GatewaySettings, module) for module in MODULES},
    "ssi": SSISettings,
    "addition": AdditionSettings,
}


def settle(level: Level, outer: Settings) -> Settings:
    """Return the settings in force at `level`, inside a level with the settings `outer`."""
    own = {target: tuple(found) if isinstance(found, list) else found for target, found in level.own.items()}
    keeps = level.kind in ("if in location", "limit_except")
    dropped = [] if keeps else [target for target in NOT_INHERITED if target in outer.values]
    _inherit_headers(own, outer.values)
    join_params(level, own)
    changed = {target.partition(".")[0] for target in (*own, *dropped)}
    if "proxy_tls" in changed:
        changed.add("proxy")
    in_force = {target: found for target, found in outer.values.items() if target not in dropped} | own
    made = {name: _group(name, in_force) for name in changed if name in _GROUPS}
    settings = replace(outer, values=in_force, **made)
    if "proxy_tls" in changed:
        settings = replace(settings, proxy=replace(settings.proxy, tls=settings.proxy_tls))
    elif "proxy" in changed:
        settings = replace(settings, proxy=replace(settings.proxy, tls=outer.proxy_tls))
    for module in ("proxy", *MODULES):
        if module in changed:
            check_buffers(level, settings, module)
    check_upstream_tls(level, settings.proxy, settings.proxy_tls, "proxy")
    check_upstream_tls(level, settings.uwsgi, settings.uwsgi_tls, "uwsgi")
    if "charset" in changed:
        check_charset(level, settings.charset)
    return settings


def _inherit_headers(own: dict[str, Any], outer: dict[str, Any]) -> None:
    """Apply `add_header_inherit` and `add_trailer_inherit`: `merge` adds the outer level's fields, `off` inherits none."""
    for name in ("add_header", "add_trailer"):
        how = own.get(f"inherit.{name}", outer.get(f"inherit.{name}", "on"))
        target = f"core.{name}"
        if how == "merge" and target in own:
            own[target] = (*outer.get(target, ()), *own[target])
        elif how == "off" and target in outer:
            own.setdefault(target, ())


def _group(name: str, in_force: dict[str, Any]) -> Any:
    prefix = name + "."
    length = len(prefix)
    return _GROUPS[name](**{target[length:]: found for target, found in in_force.items() if target.startswith(prefix)})


def check_buffers(level: Level, settings: Settings, module: str) -> None:
    """Check the sizes of a module's buffers as nginx does (ngx_http_proxy_merge_loc_conf)."""
    own = [target for target in level.own if target.startswith(f"{module}.") and ("buffer" in target or "temp_file" in target)]
    if not own:
        return
    in_force: dict[str, Any] = settings.values
    proxy: ProxySettings = getattr(settings, module)
    count, block = proxy.buffers
    largest = max(proxy.buffer_size, block)
    busy = in_force.get(f"{module}.busy_buffers_size", 2 * largest)
    written = in_force.get(f"{module}.temp_file_write_size", 2 * largest)
    most = proxy.max_temp_file_size
    maximum = 'the maximum of the value of "proxy_buffer_size" and one of the "proxy_buffers"'
    message = ""
    if count < 2:
        message = 'there must be at least 2 "proxy_buffers"'
    elif busy < largest:
        message = f'"proxy_busy_buffers_size" must be equal to or greater than {maximum}'
    elif busy > (count - 1) * block:
        message = '"proxy_busy_buffers_size" must be less than the size of all "proxy_buffers" minus one buffer'
    elif written < largest:
        message = f'"proxy_temp_file_write_size" must be equal to or greater than {maximum}'
    elif most and most < largest:
        message = (
            '"proxy_max_temp_file_size" must be equal to zero to disable temporary files usage or must be equal to or '
            f"greater than {maximum}"
        )
    if message:
        message = message.replace("proxy_", f"{module}_")
        level.reading.fault(message, level.seen[own[0]].place if own[0] in level.seen else level.place)


def check_upstream_tls(level: Level, proxy: ProxySettings, tls: UpstreamTLS, module: str) -> None:
    """Check that the files are named that `proxy_ssl_verify` and `proxy_ssl_certificate` need."""
    target = proxy.pass_
    if target is None or target.scheme not in ("https", "suwsgi") or f"{module}.pass_" not in level.own:
        return
    if tls.verify and not tls.trusted_certificate:
        level.reading.fault(f"no {module}_ssl_trusted_certificate for {module}_ssl_verify", target.place)
    if tls.certificate and not tls.certificate_key:
        shown = tls.certificate if isinstance(tls.certificate, str) else level.seen[f"{module}_tls.certificate"].args[0]
        name = shown.removeprefix(os.path.dirname(level.reading.path) + "/")
        level.reading.fault(f'no "{module}_ssl_certificate_key" is defined for certificate "{name}"', target.place)


# --- locations and servers --------------------------------------------------------------------------------------------------


def _script(level: Level, settings: Settings) -> tuple[Instruction, ...]:
    return tuple(_if(level, settings, *step) if isinstance(step, tuple) else step for step in level.script)


def _if(around: Level, outer: Settings, condition: Any, level: Level) -> If:
    place = None
    if level.own:
        settings = settle(level, outer)
        place = _place(around, settings, (), ())
    return If(condition, _script(level, outer), place)


def _location(level: Level, outer: Settings) -> Location:
    settings = settle(level, outer)
    excepted: Location | None = None
    limits = level.own.get("location.limit_except")
    if limits is not None:
        methods, inner = limits
        others = settle(inner, settings)
        guard = replace(others.guard, limit_except=None)
        if any(not target.startswith("guard.") for target in inner.own):
            excepted = _place(level, replace(others, guard=guard), (), ())
        settings = replace(settings, guard=replace(settings.guard, limit_except=(methods, guard)))
        settings.values["guard.limit_except"] = settings.guard.limit_except
    inner_locations = tuple(_location(inner, settings) for inner in level.inner if inner.kind == "location")
    return replace(_place(level, settings, inner_locations, _script(level, settings)), excepted=excepted)


def _place(level: Level, settings: Settings, locations: tuple[Location, ...], script: tuple[Instruction, ...]) -> Location:
    kind = "server" if level.kind == "server" else level.own["location.kind"]
    proxy, cache = forwarding(settings)
    return Location(
        kind=kind,
        pattern=level.own.get("location.pattern", ""),
        regex=level.own.get("location.regex"),
        locations=locations,
        script=script,
        core=settings.core,
        proxy=proxy,
        cache=cache,
        guard=settings.guard,
        tunnel=settings.tunnel,
        gzip=settings.gzip,
        brotli=settings.brotli,
        charset=settings.charset,
        userid=settings.userid,
        sub=settings.sub,
        fastcgi=settings.fastcgi_own,
        ssi=settings.ssi,
        addition=settings.addition,
        handler=settings.values.get("location.handler", ""),
        place=level.place,
    )


_SERVER_FIELDS = {item.name for item in fields(ServerBlock)}


def _server(level: Level, http: Settings, listens: tuple[Listen, ...]) -> ServerBlock:
    settings = settle(level, http)
    locations = [_location(inner, settings) for inner in level.inner if inner.kind == "location"]
    own: dict[str, Any] = {
        target[7:]: tuple(found) if isinstance(found, list) else found
        for target, found in settings.values.items()
        if target.startswith("server.") and target[7:] in _SERVER_FIELDS
    }
    own["listens"] = listens
    own["names"] = tuple(level.own.get("server.names", ())) or ("",)
    own.pop("name_patterns", None)
    return ServerBlock(
        name_patterns=tuple(level.own.get("server.name_patterns", ())),
        locations=tuple(location for location in locations if location.kind != "@"),
        named={location.pattern: location for location in locations if location.kind == "@"},
        settings=_place(level, settings, (), ()),
        script=_script(level, settings),
        tls=server_tls(level, settings.values, listens),
        place=level.place,
        **own,
    )


def freeze(reading: Reading, main: Level) -> Config:
    """Return the model of a configuration that was read without a fault so far. New faults are added to `reading`."""
    http = next((level for level in main.inner if level.kind == "http"), None)
    events = next((level for level in main.inner if level.kind == "events"), None)
    values: dict[str, Any] = {"core.types": _DEFAULT_TYPES, "core.access_log": _default_log(reading)}
    values |= {f"{module}.pass_forwarded": True for module in ("proxy", *MODULES)}
    trusting = ProxySettings(pass_forwarded=True)
    base = Settings(values=values, proxy=trusting, fastcgi=trusting, uwsgi=trusting, scgi=trusting)
    servers: tuple[ServerBlock, ...] = ()
    settings = base
    if http is not None:
        settings = settle(http, replace(base, core=_group("core", base.values)))
        servers = tuple(_server(level, settings, listens) for level, listens in shared_listens(http).items())
        if not reading.faults:
            check_certificates(reading, servers)
    own = {**main.own, **(events.own if events is not None else {})}
    process: dict[str, Any] = {
        target[5:]: tuple(found) if isinstance(found, list) else found for target, found in own.items() if target[:5] == "main."
    }
    process.setdefault("pid", os.path.join(reading.prefix, Main.pid))
    return Config(
        path=reading.path,
        prefix=reading.prefix,
        main=Main(**process),
        servers=servers,
        upstreams={upstream.name: upstream for upstream in reading.upstreams.values()},
        cache_zones=dict(reading.cache_zones),
        limit_req_zones=dict(reading.limit_req_zones),
        limit_conn_zones=dict(reading.limit_conn_zones),
        matches=dict(reading.matches),
        core=settings.core,
    )


def _default_log(reading: Reading) -> tuple[AccessLog, ...]:
    """Return nginx's default log if its directory exists."""
    if not os.path.isdir(os.path.join(reading.prefix, "logs")):
        return ()
    path = path_template(Level("main", reading), "logs/access.log")
    return (AccessLog(path, log_format(reading, "combined")),)
