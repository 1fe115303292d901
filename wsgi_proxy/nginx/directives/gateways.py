"""FastCGI, uwsgi, SCGI and memcached upstreams: `fastcgi_pass` and the like, with their settings.

Rules:
- A setting that `proxy_*` has as well is its row under another name (`mirrored`): same arguments, same effect. The values of
  `fastcgi_*` are kept under `fastcgi.` where those of `proxy_*` are under `proxy.`, and so for its cache and its TLS settings.
- Settings of these modules without their `_pass` have no effect, as in nginx.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping
from dataclasses import replace
from typing import Any

from ...config import CacheSettings, Param, ProxyPass, ProxySettings, UpstreamTLS
from ...gateway import direct
from ...variables import compile_regex
from . import cache, harmless, proxy, tls, values
from .destinations import address_of, implicit_upstream, note_client_names
from .row import ALL, Bad, BadValue, Level, Row, Statement, accepted, listed, special, value

MODULES = ("fastcgi", "uwsgi", "scgi", "memcached")

_SHARED = frozenset(
    """
    bind buffer_size buffering buffers busy_buffers_size cache cache_background_update cache_bypass cache_key cache_lock
    cache_lock_age cache_lock_timeout cache_max_range_offset cache_methods cache_min_uses cache_path cache_purge
    cache_revalidate cache_use_stale cache_valid connect_timeout force_ranges hide_header ignore_client_abort ignore_headers
    intercept_errors limit_rate max_temp_file_size next_upstream next_upstream_timeout next_upstream_tries no_cache pass_header
    pass_request_body pass_request_headers read_timeout request_buffering send_timeout socket_keepalive socket_rcvbuf
    socket_sndbuf store store_access temp_file_write_size temp_path
    """.split()
)
"""The names, without `proxy_`, of the settings that all three modules have."""


_MEMCACHED = frozenset(
    """
    bind buffer_size connect_timeout next_upstream next_upstream_timeout next_upstream_tries read_timeout send_timeout
    socket_keepalive
    """.split()
)
"""Those that memcached's module has."""
_MEMCACHED_WORDS = {"not_found": "http_404", "invalid_response": "invalid_header"}
"""The words of `memcached_next_upstream` that `proxy_next_upstream` has under other names."""


def group_of(group: str, module: str) -> str:
    """Return the group of a module's settings that correspond to a group of `proxy_*`; the same group if there is none.

    >>> group_of("cache", "fastcgi"), group_of("core", "fastcgi")
    ('fastcgi_cache', 'core')
    """
    return {"proxy": module, "cache": f"{module}_cache", "proxy_tls": f"{module}_tls"}.get(group, group)


class _View(MutableMapping[str, Any]):
    """The settings of a level under the names of `proxy_*`, for one module."""

    def __init__(self, inner: MutableMapping[str, Any], module: str) -> None:
        self._inner = inner
        self._module = module

    def _key(self, key: str) -> str:
        group, dot, name = key.partition(".")
        return group_of(group, self._module) + dot + name

    def __getitem__(self, key: str) -> Any:
        return self._inner[self._key(key)]

    def __setitem__(self, key: str, found: Any) -> None:
        self._inner[self._key(key)] = found

    def __delitem__(self, key: str) -> None:
        del self._inner[self._key(key)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._inner)

    def __len__(self) -> int:
        return len(self._inner)


def mirrored(row: Row, module: str) -> Row:
    """Return a row of `proxy_*` for another module."""

    def act(level: Level, statement: Statement) -> None:
        view = replace(level, own=_View(level.own, module), seen=_View(level.seen, module))
        if module == "memcached":
            # A key without a value is a 404 here.
            args = [_MEMCACHED_WORDS.get(word, word) for word in statement.args]
            statement = replace(statement, args=args)
        try:
            row.act(view, statement)
        except Bad as error:
            raise type(error)(str(error).replace("proxy_", f"{module}_")) from None

    group, dot, name = row.target.partition(".")
    target = group_of(group, module) + dot + name if row.target else ""
    renamed = row.name.replace("proxy", module, 1)
    return Row(renamed, row.contexts, row.takes, act, target, row.note, "" if row.note else row.name)


def _mirrored() -> Iterator[Row]:
    for module in MODULES:
        shared = _MEMCACHED if module == "memcached" else _SHARED
        for row in (*proxy.ROWS, *cache.ROWS, *harmless.ROWS, *tls.ROWS):
            name = row.name.removeprefix("proxy_")
            if name != row.name and (name in shared or (module == "uwsgi" and name.startswith("ssl_"))):
                yield mirrored(row, module)


# --- the destination --------------------------------------------------------------------------------------------------------


def _pass(module: str) -> Row:
    target = f"{module}.pass_"

    def act(level: Level, statement: Statement) -> None:
        if target in level.own:
            raise BadValue("is duplicate")
        url = statement.args[0]
        level.own["location.handler"] = f"{module}_pass"
        if module == "memcached":
            level.reading.names.declare_set("memcached_key")
            level.own["memcached_own.param"] = [Param("key", level.template("$memcached_key"))]
        if "$" in url:
            named = level.own[target] = ProxyPass(url, module, template=level.template(url), place=statement.place)
            note_client_names(level, target, named)
            return
        prefix = re.match(r"s?uwsgi://", url, re.IGNORECASE) if module == "uwsgi" else None
        scheme = prefix[0][:-3].lower() if prefix else module
        address = url[prefix.end() :] if prefix else url
        if not address:
            raise Bad('no host in upstream ""')
        name, port = address_of(address)
        host = name if port is None else f"{name}:{port}"
        passed = ProxyPass(url, scheme, address, None, host, place=statement.place)
        level.own[target] = passed
        level.reading.later(statement.place, lambda: _find_upstream(level, target, passed, name, port))

    return special(f"{module}_pass", "location, if in location", "TAKE1", act, target)


def _find_upstream(level: Level, target: str, passed: ProxyPass, name: str, port: int | None) -> None:
    """Set the destination's upstream when all upstream blocks are known; an address without a block needs a port."""
    block = level.reading.upstreams.get(name.lower())
    if block is not None and block.place.line and port is not None:
        raise Bad(f'upstream "{name}" may not have port {port}')
    if block is None or not block.place.line:
        if port is None and not name.startswith("unix:"):
            raise Bad(f'no port in upstream "{name}"')
        block = implicit_upstream(level.reading, name, port or 0, passed)
    level.own[target] = replace(passed, upstream=block.name)


# --- settings of the modules alone ------------------------------------------------------------------------------------------


def _param(level: Level, args: list[str]) -> Param:
    if len(args) == 3 and args[2] != "if_not_empty":
        raise Bad(f'invalid parameter "{args[2]}"')
    return Param(args[0], level.template(args[1]), len(args) == 3)


def _index(level: Level, args: list[str]) -> str:
    if args[0].endswith("/"):
        raise Bad(f'fastcgi_index "{args[0]}" in location is invalid')
    return args[0]


def _split_path_info(level: Level, args: list[str]) -> re.Pattern[str]:
    regex = compile_regex(args[0], False)
    if regex.groups != 2:
        raise Bad(f'pattern "{args[0]}" must have 2 captures')
    return regex


def _unread(name: str, takes: str) -> Row:
    """Return the row of a setting that `proxy_*` does not have here either."""

    def act(level: Level, statement: Statement) -> None:
        level.reading.warn(f'"{name}" has no effect', statement.place)

    return Row(name, ALL, takes, act, note="no effect; gives a warning")


# --- the settings in force --------------------------------------------------------------------------------------------------


def compile_params(level: Level, own: dict[str, Any]) -> None:
    """Compile the values with variables of a level's parameters into one function (`GatewaySettings.values`)."""
    for module in MODULES:
        params = own.get(f"{module}_own.param")
        if params is not None:
            varying = [getattr(param.value, "text", "") for param in params if getattr(param.value, "constant", None) is None]
            own[f"{module}_own.values"] = level.reading.names.values([text for text in varying if not direct(text)])


def forwarding(settings: Any) -> tuple[ProxySettings, CacheSettings]:
    """Return the settings of the module that a location forwards by, `proxy_*` unless another `_pass` is in force.

    `settings` are the `freezing.Settings` of the location.
    """
    module = settings.values.get("location.handler", "").removesuffix("_pass")
    if module not in MODULES:
        return settings.proxy, settings.cache
    tls = settings.uwsgi_tls if module == "uwsgi" else UpstreamTLS()
    if module == "memcached":
        nothing = {"pass_request_headers": False, "pass_request_body": False}
        own = settings.memcached_own
        return replace(settings.memcached, gateway=own, redirect=(), force_ranges=True, **nothing), CacheSettings()
    proxy = replace(getattr(settings, module), gateway=getattr(settings, f"{module}_own"), tls=tls, redirect=())
    return proxy, replace(getattr(settings, f"{module}_cache"), convert_head=False)


_KERNEL = "the kernel decides when a socket is writable"

ROWS: tuple[Row, ...] = (
    *(_pass(module) for module in MODULES),
    *(listed(f"{module}_param", ALL, "TAKE23", f"{module}_own.param", _param) for module in MODULES if module != "memcached"),
    value("memcached_gzip_flag", ALL, "TAKE1", "memcached_own.gzip_flag", values.number),
    value("fastcgi_index", ALL, "TAKE1", "fastcgi_own.index", _index),
    value("fastcgi_split_path_info", ALL, "TAKE1", "fastcgi_own.split_path_info", _split_path_info),
    value("fastcgi_keep_conn", ALL, "FLAG", "fastcgi_own.keep_conn", values.flag("fastcgi_keep_conn")),
    listed("fastcgi_catch_stderr", ALL, "TAKE1", "fastcgi_own.catch_stderr", values.text),
    value("uwsgi_modifier1", ALL, "TAKE1", "uwsgi_own.modifier1", values.between(0, 255)),
    value("uwsgi_modifier2", ALL, "TAKE1", "uwsgi_own.modifier2", values.between(0, 255)),
    accepted("fastcgi_send_lowat", ALL, "TAKE1", _KERNEL, values.size),
    accepted("uwsgi_string", ALL, "TAKE1", "undocumented in nginx; nothing is sent"),
    *(_repeated := tuple(_mirrored())),
    *(
        _unread(name, takes)
        for name, takes in (("uwsgi_ssl_password_file", "TAKE1"), ("uwsgi_ssl_conf_command", "TAKE2"))
        if all(row.name != name for row in _repeated)
    ),
)
