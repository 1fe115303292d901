"""Warnings about settings that are valid but probably not intended, for `-t` and the start.

Rules:
- A warning names the line of the directive that it is about, and an inherited directive is warned of once.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...config import Config, SourceLine
from .gateways import MODULES, group_of
from .row import Level

_FIXED_UPGRADE = (
    "\"proxy_set_header Connection 'upgrade'\" is sent only for a client that asks for an upgrade, so that "
    "connections to upstreams are kept; under gunicorn's sync workers each upgraded connection holds a worker"
)
_CACHING = ("cache_bypass", "no_cache", "cache_valid")


def warnings_of(config: Config, main: Level) -> Iterator[tuple[str, SourceLine]]:
    """Yield (message, line) for each warning, once."""
    yield from _unshared(config)
    found: dict[tuple[str, SourceLine], None] = {}
    for level in main.tree():
        module = _module(level)
        if module == "proxy":
            found |= dict.fromkeys(_fixed_upgrade(level))
            found |= dict.fromkeys(_varying_check(level))
        if module:
            found |= dict.fromkeys(_caching(level, module))
    yield from sorted(found, key=lambda item: (item[1].file, item[1].line))


def _module(level: Level) -> str:
    """Return the module by whose `_pass` a location forwards, also for the `if` and `limit_except` blocks in it; "" for none."""
    while level.parent is not None and level.kind in ("if in location", "limit_except") and "location.handler" not in level.own:
        level = level.parent
    module = str(level.own.get("location.handler", "")).removesuffix("_pass")
    return module if module in ("proxy", *MODULES) else ""


def _unshared(config: Config) -> Iterator[tuple[str, SourceLine]]:
    """Warn of upstreams without a zone: nginx counts their failures per worker, and here all workers share the counts."""
    if config.main.worker_processes < 2:
        return
    for upstream in config.upstreams.values():
        if upstream.zone is None and len(upstream.servers) > 1:
            yield (
                f'upstream "{upstream.name}" has no "zone": the workers share its counts, which nginx keeps per worker',
                upstream.place,
            )


def _fixed_upgrade(level: Level) -> Iterator[tuple[str, SourceLine]]:
    setting = level.in_force("proxy.set_header")
    if setting is None:
        return
    for (name, value), place in zip(setting.own["proxy.set_header"], setting.lines["proxy_set_header"], strict=True):
        constant = getattr(value, "constant", None)
        if name.lower() == "connection" and constant is not None and constant.lower() == "upgrade":
            yield _FIXED_UPGRADE, place


def _varying_check(level: Level) -> Iterator[tuple[str, SourceLine]]:
    """Yield a warning for each setting with variables, for which a health check has no request."""
    if not level.own.get("proxy.health_checks"):
        return
    for name, target in (("bind", "proxy.bind"), ("ssl_name", "proxy_tls.name"), ("ssl_certificate", "proxy_tls.certificate")):
        setting = level.in_force(target)
        if setting is not None and _varies(setting.own[target]):
            yield f'health checks are made without "proxy_{name}", which has variables', setting.seen[target].place
    setting = level.in_force("proxy.set_header")
    if setting is not None:
        for (name, value), place in zip(setting.own["proxy.set_header"], setting.lines["proxy_set_header"], strict=True):
            if _varies(value):
                yield f'health checks are made without "proxy_set_header {name}", which has variables', place


def _varies(setting: object) -> bool:
    return callable(setting) and getattr(setting, "constant", None) is None


def _caching(level: Level, module: str) -> Iterator[tuple[str, SourceLine]]:
    """Yield the warnings about a cache without a key, and about its settings without a cache."""
    group = "cache" if module == "proxy" else group_of("cache", module)
    cache = level.in_force(f"{group}.zone")
    if cache is not None and cache.own[f"{group}.zone"] is not None:
        if module != "proxy" and level.in_force(f"{group}.key") is None:
            yield f'no "{module}_cache_key" for "{module}_cache"', cache.seen[f"{group}.zone"].place
        return
    for name in _CACHING:
        target = f"{group}.{name.removeprefix('cache_')}"
        setting = level.in_force(target)
        if setting is not None and setting.own[target]:
            yield f'"{module}_{name}" has no effect without "{module}_cache"', setting.seen[target].place
