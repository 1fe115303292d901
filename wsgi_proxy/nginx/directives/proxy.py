"""ngx_http_proxy_module without its destinations and its cache: request fields, timeouts, and changes to responses."""

from __future__ import annotations

import re
from typing import Any

from ...config import PrefixRewriter, ProxyPass, Template, default_redirect
from ...net import local_address
from ...variables import compile_regex
from . import values
from .destinations import proxy_pass
from .rewriters import CookieName, Domain, Whole
from .row import ALL, Bad, BadValue, Level, Row, Statement, listed, special, summed, value

NEXT = (
    "error", "timeout", "invalid_header", "non_idempotent", "http_500", "http_502", "http_503", "http_504", "http_403",
    "http_404", "http_429", "denied", "updating", "off",
)  # fmt: skip
"""The words of `proxy_next_upstream` and of `proxy_cache_use_stale`: nginx has one list for both (ngx_http_proxy_module)."""
_IGNORED = (
    "x-accel-redirect", "x-accel-expires", "x-accel-limit-rate", "x-accel-buffering", "x-accel-charset", "expires",
    "cache-control", "set-cookie", "vary",
)  # fmt: skip
_FLAGS = re.compile(r"secure|nosecure|httponly|nohttponly|nosamesite|samesite=(strict|lax|none)", re.IGNORECASE)


# --- responses --------------------------------------------------------------------------------------------------------------


def _rewriter(level: Level, old: str, new: str, plain: Any) -> Any:
    if old.startswith("~"):
        insensitive = old.startswith("~*")
        # nginx compares domains without regard to case, and reads no "~*" there.
        pattern = old[2:] if insensitive and plain is not Domain else old[1:]
        regex = compile_regex(pattern, insensitive or plain is Domain)
        level.reading.names.declare_captures(regex)
        return Whole(regex, level.template(new))
    if plain is Domain:
        old, new = old.removeprefix("."), new.removeprefix(".")
    return plain(level.template(old), level.template(new))


def _proxy_redirect(level: Level, statement: Statement) -> None:
    args = statement.args
    known = level.own.get("proxy.redirect")
    if known == () or (args[0] == "off" and known is not None):
        raise BadValue("is duplicate")
    if args[0] == "off":
        level.own["proxy.redirect"] = ()
        return
    if len(args) == 2:
        rewriter = _rewriter(level, args[0], args[1], PrefixRewriter)
    elif args[0] == "default":
        rewriter = _default_redirect(level)
    else:
        raise Bad(f'invalid parameter "{args[0]}"')
    level.own.setdefault("proxy.redirect", []).append(rewriter)


def _default_redirect(level: Level) -> PrefixRewriter:
    target: ProxyPass | None = level.own.get("proxy.pass_")
    if target is None:
        raise Bad('"proxy_redirect default" should be placed after the "proxy_pass" directive')
    if target.template is not None:
        raise Bad('"proxy_redirect default" cannot be used with "proxy_pass" directive with variables')
    return default_redirect(target, level.own["location.pattern"])


def _cookie_rewrite(target: str, plain: Any) -> Any:
    def act(level: Level, statement: Statement) -> None:
        args = statement.args
        known = level.own.get(target)
        if known == () or (args == ["off"] and known is not None):
            raise BadValue("is duplicate")
        if args == ["off"]:
            level.own[target] = ()
        elif len(args) == 1:
            raise Bad(f'invalid parameter "{args[0]}"')
        else:
            level.own.setdefault(target, []).append(_rewriter(level, args[0], args[1], plain))

    return act


def _cookie_flags(level: Level, statement: Statement) -> None:
    name, *flags = statement.args
    known = level.own.get("proxy.cookie_flags")
    if known == () or (name == "off" and not flags and known is not None):
        raise BadValue("is duplicate")
    if name == "off" and not flags:
        level.own["proxy.cookie_flags"] = ()
        return
    for flag in flags:
        if "$" not in flag and _FLAGS.fullmatch(flag) is None:
            raise Bad(f'invalid parameter "{flag}"')
    if name.startswith("~"):
        # nginx compares the names of cookies without regard to case.
        matcher = CookieName(None, compile_regex(name[1:], True))
    else:
        matcher = CookieName(level.template(name), None)
    level.own.setdefault("proxy.cookie_flags", []).append(
        (matcher, tuple(level.template(flag) if "$" in flag else flag.lower() for flag in flags))
    )


# --- request fields, buffers, timeouts --------------------------------------------------------------------------------------


def _header(level: Level, args: list[str]) -> tuple[str, Template]:
    return args[0], level.template(args[1])


def next_upstream(level: Level, args: list[str]) -> frozenset[str]:
    kinds = values.words(*NEXT)(level, args)
    return frozenset() if "off" in kinds else kinds


def bind(level: Level, args: list[str]) -> Template | None:
    address = args[0]
    if address == "off":
        return None
    if len(args) > 1:
        raise Bad(
            'the "transparent" parameter is not supported by wsgi_proxy'
            if args[1] == "transparent"
            else f'invalid parameter "{args[1]}"'
        )
    if "$" not in address and local_address(address) is None:
        raise Bad(f'invalid address "{address}"')
    return level.template(address)


def _limit_rate(level: Level, args: list[str]) -> Template:
    if "$" in args[0]:
        return level.template(args[0])
    return level.template(str(values.size(level, args)))


def _store(level: Level, statement: Statement) -> None:
    if "proxy.store" in level.own:
        raise BadValue("is duplicate")
    text = statement.args[0]
    if text != "off" and level.own.get("cache.zone") is not None:
        raise BadValue('is incompatible with "proxy_cache"')
    level.own["proxy.store"] = text == "on" if text in ("on", "off") else level.template(text)


def file_access(level: Level, args: list[str]) -> int:
    """Return the mode of a file for `user:rw group:r all:r`; the user's part may be left out."""
    found, user = 0, 0o600
    for arg in args:
        match = re.fullmatch(r"(user|group|all):(rw|r)", arg)
        if match is None:
            raise Bad(f'invalid value "{arg}"')
        user = 0 if match[1] == "user" else user
        found |= (6 if match[2] == "rw" else 4) << {"user": 6, "group": 3, "all": 0}[match[1]]
    return found | user


def _temp_path(level: Level, args: list[str]) -> str:
    return values.path(level, args)


def _http_version(level: Level, args: list[str]) -> str:
    if args[0] == "2":
        raise Bad('"proxy_http_version 2" is not supported by wsgi_proxy')
    found: str = values.word("1.0", "1.1")(level, args)
    return found


def _flag(name: str) -> Row:
    return value(name, ALL, "FLAG", f"proxy.{name.removeprefix('proxy_')}", values.flag(name))


def _time(name: str) -> Row:
    return value(name, ALL, "TAKE1", f"proxy.{name.removeprefix('proxy_')}", values.time)


def _size(name: str) -> Row:
    return value(name, ALL, "TAKE1", f"proxy.{name.removeprefix('proxy_')}", values.size)


ROWS: tuple[Row, ...] = (
    special(
        "proxy_pass",
        "location, if in location, limit_except",
        "TAKE1",
        proxy_pass,
        "proxy.pass_",
    ),
    listed(
        "proxy_set_header",
        ALL,
        "TAKE2",
        "proxy.set_header",
        _header,
    ),
    listed("proxy_hide_header", ALL, "TAKE1", "proxy.hide_header", values.text),
    listed("proxy_pass_header", ALL, "TAKE1", "proxy.pass_header", values.text),
    _flag("proxy_pass_request_headers"),
    _flag("proxy_pass_request_body"),
    value("proxy_set_body", ALL, "TAKE1", "proxy.set_body", values.template),
    value("proxy_method", ALL, "TAKE1", "proxy.method", values.template),
    value("proxy_http_version", ALL, "TAKE1", "proxy.http_version", _http_version),
    special("proxy_redirect", ALL, "TAKE12", _proxy_redirect, "proxy.redirect"),
    special("proxy_cookie_domain", ALL, "TAKE12", _cookie_rewrite("proxy.cookie_domain", Domain), "proxy.cookie_domain"),
    special("proxy_cookie_path", ALL, "TAKE12", _cookie_rewrite("proxy.cookie_path", PrefixRewriter), "proxy.cookie_path"),
    special("proxy_cookie_flags", ALL, "TAKE1234", _cookie_flags, "proxy.cookie_flags"),
    _time("proxy_connect_timeout"),
    _time("proxy_send_timeout"),
    _time("proxy_read_timeout"),
    summed("proxy_next_upstream", ALL, "proxy.next_upstream", next_upstream, values.either),
    value("proxy_next_upstream_tries", ALL, "TAKE1", "proxy.next_upstream_tries", values.number),
    _time("proxy_next_upstream_timeout"),
    special("proxy_store", ALL, "TAKE1", _store, "proxy.store"),
    value("proxy_store_access", ALL, "TAKE123", "proxy.store_access", file_access),
    _flag("proxy_pass_trailers"),
    _flag("proxy_force_ranges"),
    _flag("proxy_buffering"),
    _size("proxy_buffer_size"),
    value("proxy_buffers", ALL, "TAKE2", "proxy.buffers", values.buffers),
    _size("proxy_busy_buffers_size"),
    _size("proxy_max_temp_file_size"),
    _size("proxy_temp_file_write_size"),
    value("proxy_temp_path", ALL, "TAKE1234", "proxy.temp_path", _temp_path),
    _flag("proxy_request_buffering"),
    _flag("proxy_intercept_errors"),
    _flag("proxy_ignore_client_abort"),
    summed("proxy_ignore_headers", ALL, "proxy.ignore_headers", values.words(*_IGNORED), frozenset.union),
    value("proxy_limit_rate", ALL, "TAKE1", "proxy.limit_rate", _limit_rate),
    _flag("proxy_socket_keepalive"),
    value("proxy_bind", ALL, "TAKE12", "proxy.bind", bind),
)
