"""The step from the levels that were read to the frozen model: locations, server blocks and the process.

Rules:
- `inheritance` gives each level the settings in force.
- Checks that need the whole configuration are made here.
"""

from __future__ import annotations

import os
from dataclasses import fields, replace
from typing import Any

from ...config import AccessLog, Config, If, Instruction, Listen, Location, Main, ProxySettings, ServerBlock
from .addresses import check_certificates, shared_listens
from .gateways import MODULES, forwarding
from .inheritance import Settings, group, settle
from .log import log_format
from .otel import otel_exporter
from .reading import Reading
from .row import Level
from .tls import server_tls
from .values import path_template

_DEFAULT_TYPES = {"html": "text/html", "gif": "image/gif", "jpg": "image/jpeg"}
"""nginx's types without a `types` block (ngx_http_core_default_types)."""


def _script(level: Level, settings: Settings) -> tuple[Instruction, ...]:
    return tuple(_if(level, settings, *step) if isinstance(step, tuple) else step for step in level.script)


def _if(around: Level, outer: Settings, condition: Any, level: Level) -> If:
    place = None
    if level.own:
        settings = settle(level, outer)
        place = _place(around, settings, (), ())
    return If(condition, _script(level, outer), place, level.place)


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
        dav=settings.dav,
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
    values: dict[str, Any] = {"core.types": _DEFAULT_TYPES, "core.access_log": _default_log(reading, main)}
    values |= {f"{module}.pass_forwarded": True for module in ("proxy", *MODULES)}
    trusting = ProxySettings(pass_forwarded=True)
    base = Settings(values=values, proxy=trusting, fastcgi=trusting, uwsgi=trusting, scgi=trusting, memcached=trusting)
    servers: tuple[ServerBlock, ...] = ()
    settings = base
    if http is not None:
        settings = settle(http, replace(base, core=group("core", base.values)))
        servers = tuple(_server(level, settings, listens) for level, listens in shared_listens(http).items())
        if not reading.faults:
            check_certificates(reading, servers)
    own = {**main.own, **(events.own if events is not None else {})}
    process: dict[str, Any] = {
        target[5:]: tuple(found) if isinstance(found, list) else found for target, found in own.items() if target[:5] == "main."
    }
    return Config(
        path=reading.path,
        prefix=reading.prefix,
        main=Main(**process),
        servers=servers,
        upstreams={upstream.name: upstream for upstream in reading.upstreams.values()},
        cache_zones=dict(reading.cache_zones),
        limit_req_zones=dict(reading.limit_req_zones),
        limit_conn_zones=dict(reading.limit_conn_zones),
        keyval_zones=dict(reading.keyval_zones),
        keyvals=tuple(reading.keyvals),
        matches=dict(reading.matches),
        cluster=reading.cluster,
        otel=otel_exporter(reading, http),
        core=settings.core,
    )


def _default_log(reading: Reading, main: Level) -> tuple[AccessLog, ...]:
    """Return the default access log: nginx's for the command's server in the background, its standard output in the foreground.

    A configuration in another process has nginx's if the directory exists.
    """
    place = "logs/access.log"
    if reading.own_process:
        place = place if main.own.get("main.daemon", True) else "/dev/stdout"
    elif not os.path.isdir(os.path.join(reading.prefix, "logs")):
        return ()
    return (AccessLog(path_template(Level("main", reading), place), log_format(reading, "combined")),)
