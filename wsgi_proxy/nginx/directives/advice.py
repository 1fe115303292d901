"""Warnings about settings that are valid but probably not intended, for `-t` and the start."""

from __future__ import annotations

from collections.abc import Iterator

from ...config import Config, Location, SourceLine, locations_of


def warnings_of(config: Config) -> Iterator[tuple[str, SourceLine]]:
    """Yield (message, line) for each warning."""
    yield from _unshared(config)
    reported: set[tuple[str, SourceLine]] = set()
    for location in locations_of(config):
        for message in (_fixed_upgrade(location), _bypass_without_cache(location)):
            if message and (message, location.place) not in reported:
                reported.add((message, location.place))
                yield message, location.place


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


def _fixed_upgrade(location: Location) -> str:
    for name, value in location.proxy.set_header or ():
        constant = getattr(value, "constant", None)
        if (
            name.lower() == "connection"
            and constant is not None
            and constant.lower() == "upgrade"
            and location.proxy.pass_ is not None
        ):
            return (
                "\"proxy_set_header Connection 'upgrade'\" is sent only for a client that asks for an upgrade, so that "
                "connections to upstreams are kept; under gunicorn's sync workers each upgraded connection holds a worker"
            )
    return ""


def _bypass_without_cache(location: Location) -> str:
    cache = location.cache
    module = location.handler.removesuffix("_pass")
    if location.proxy.gateway is not None and cache.zone is not None and cache.key is None:
        return f'no "{module}_cache_key" for "{module}_cache"'
    if cache.zone is None and location.proxy.pass_ is not None:
        for name, found in (
            (f"{module}_cache_bypass", cache.bypass),
            (f"{module}_no_cache", cache.no_cache),
            (f"{module}_cache_valid", cache.valid),
        ):
            if found:
                return f'"{name}" has no effect without "{module}_cache"'
    return ""
