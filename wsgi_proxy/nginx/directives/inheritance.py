"""Inheritance: the settings in force at a level, from those of the level around it and the level's own.

Rules:
- The settings in force at a level are its parent's, updated by the level's. A few settings are never inherited.
- A level that changes nothing in a group of settings shares the group's object with the level around it.
- Checks that need the settings in force are made here (ngx_http_proxy_merge_loc_conf).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ...config import (
    AdditionSettings,
    BrotliSettings,
    CacheSettings,
    CharsetSettings,
    CoreSettings,
    DavSettings,
    GatewaySettings,
    GuardSettings,
    GzipSettings,
    ProxySettings,
    SSISettings,
    SubSettings,
    TunnelSettings,
    UpstreamTLS,
    UserIDSettings,
)
from ...tracing import traceparent, tracestate
from .charset import check_charset
from .gateways import MODULES, compile_params
from .row import Level
from .tls import places_of

NOT_INHERITED = frozenset(
    {
        "proxy.pass_",
        "proxy.health_checks",
        "tunnel.pass_",
        *(f"{module}.pass_" for module in MODULES),
        "core.try_files",
        "core.empty_gif",
        "core.stub_status",
        "core.metrics",
        "guard.limit_except",
        "location.handler",
    }
)
"""Settings that are not inherited. Only an `if` keeps those of the location around it."""


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
    memcached: ProxySettings = ProxySettings()
    memcached_cache: CacheSettings = CacheSettings()
    memcached_own: GatewaySettings = GatewaySettings("memcached")
    ssi: SSISettings = SSISettings()
    addition: AdditionSettings = AdditionSettings()
    dav: DavSettings = DavSettings()


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
    "dav": DavSettings,
}


def settle(level: Level, outer: Settings) -> Settings:
    """Return the settings in force at `level`, inside a level with the settings `outer`."""
    own = {target: tuple(found) if isinstance(found, list) else found for target, found in level.own.items()}
    keeps = level.kind in ("if in location", "limit_except")
    dropped = [] if keeps else [target for target in NOT_INHERITED if target in outer.values]
    _inherit_headers(own, outer.values)
    compile_params(level, own)
    changed = {target.partition(".")[0] for target in (*own, *dropped)}
    if "proxy_tls" in changed:
        changed.add("proxy")
    in_force = {target: found for target, found in outer.values.items() if target not in dropped} | own
    made = {name: group(name, in_force) for name in changed if name in _GROUPS}
    settings = replace(outer, values=in_force, **made)
    if "proxy_tls" in changed:
        tls = replace(settings.proxy_tls, places=places_of(level, "proxy_tls"))
        settings = replace(settings, proxy_tls=tls, proxy=replace(settings.proxy, tls=tls))
    if "uwsgi_tls" in changed:
        settings = replace(settings, uwsgi_tls=replace(settings.uwsgi_tls, places=places_of(level, "uwsgi_tls")))
    if "proxy" in changed and "proxy_tls" not in changed:
        settings = replace(settings, proxy=replace(settings.proxy, tls=outer.proxy_tls))
    settings = _trace_fields(settings, own, changed)
    for module in ("proxy", *MODULES):
        if module in changed:
            check_buffers(level, settings, module)
    check_upstream_tls(level, settings.proxy, settings.proxy_tls, "proxy")
    check_upstream_tls(level, settings.uwsgi, settings.uwsgi_tls, "uwsgi")
    if "charset" in changed:
        check_charset(level, settings.charset)
    return settings


def _trace_fields(settings: Settings, own: dict[str, Any], changed: set[str]) -> Settings:
    """Add the fields of `otel_trace_context` to those that are sent to an upstream, unless `proxy_set_header` names them."""
    if "core.trace_context" not in own and "proxy" not in changed:
        return settings
    proxy: ProxySettings = settings.proxy
    if "proxy" not in changed:
        proxy = replace(group("proxy", settings.values), tls=proxy.tls)
    if settings.core.trace_context in ("inject", "propagate"):
        given = proxy.set_header or ()
        named = {name.lower() for name, _ in given}
        fields = (("traceparent", traceparent), ("tracestate", tracestate))
        proxy = replace(proxy, set_header=(*given, *(each for each in fields if each[0] not in named)))
    return replace(settings, proxy=proxy)


def _inherit_headers(own: dict[str, Any], outer: dict[str, Any]) -> None:
    """Apply `add_header_inherit` and `add_trailer_inherit`: `merge` adds the outer level's fields, `off` inherits none."""
    for name in ("add_header", "add_trailer"):
        how = own.get(f"inherit.{name}", outer.get(f"inherit.{name}", "on"))
        target = f"core.{name}"
        if how == "merge" and target in own:
            own[target] = (*outer.get(target, ()), *own[target])
        elif how == "off" and target in outer:
            own.setdefault(target, ())


def group(name: str, in_force: dict[str, Any]) -> Any:
    """Return the group of that name, made of the settings in force."""
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
    elif busy > (count - 1) * block and module != "memcached":
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
