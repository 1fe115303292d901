"""Filters of responses: gzip and its conditions."""

from __future__ import annotations

from ...filters import has_brotli
from ...variables import compile_regex
from . import values
from .row import ALL, IFS, Bad, BadValue, Converter, Level, Row, Statement, special, summed, value

_PROXIED = ("off", "expired", "no-cache", "no-store", "private", "no_last_modified", "no_etag", "auth", "any")


def media_types(name: str, target: str, *defaults: str) -> Row:
    """Return the row of a set of media types: it adds to the defaults, and `*` stands for every type (ngx_http_types_slot)."""

    def act(level: Level, statement: Statement) -> None:
        found = level.own.get(target, frozenset(defaults))
        for arg in statement.args:
            kind = arg.lower()
            if found is None or kind == "*":
                found = None
                break
            if kind in found:
                level.reading.warn(f'duplicate MIME type "{kind}"', statement.place)
            found |= {kind}
        level.own[target] = found
        level.seen[target] = statement

    return special(name, ALL, "1MORE", act, target)


def _logarithm(low: int, high: int) -> Converter:
    """Return a converter for the size of one of zlib's tables: a power of two within bounds, as its logarithm."""

    def convert(level: Level, args: list[str]) -> int:
        found = values.size(level, args)
        if found & (found - 1) or not low <= found <= high:
            sizes = [1 << number for number in range(low.bit_length() - 1, high.bit_length())]
            shown = [f"{size >> 20}m" if size >> 20 else f"{size >> 10}k" if size >> 10 else str(size) for size in sizes]
            raise BadValue("must be " + ", ".join(shown[:-1]) + f", or {shown[-1]}")
        return found.bit_length() - 1

    return convert


def _memory(level: Level, args: list[str]) -> int:
    """Return zlib's memory level for the size of its table, 8 for 64k."""
    found: int = _logarithm(512, 131072)(level, args)
    return found - 8


def _disable(level: Level, statement: Statement) -> None:
    patterns = level.own.setdefault("gzip.disable", [])
    for arg in statement.args:
        if arg == "msie6":
            level.own["gzip.disable_msie6"] = True
        else:
            patterns.append(compile_regex(arg, True))


def _http_version(level: Level, args: list[str]) -> str:
    if args[0] not in ("1.0", "1.1"):
        raise Bad(f'invalid value "{args[0]}"')
    return args[0]


def _brotli(level: Level, args: list[str]) -> bool:
    enabled = values.flag_value("brotli", args[0])
    if enabled and not has_brotli():
        raise Bad('"brotli" needs the library of that name: pip install "wsgi-proxy-nginx[brotli]"')
    return enabled


ROWS: tuple[Row, ...] = (
    value("gzip", IFS, "FLAG", "gzip.enabled", values.flag("gzip")),
    media_types("gzip_types", "gzip.types", "text/html"),
    value("gzip_comp_level", ALL, "TAKE1", "gzip.comp_level", values.between(1, 9)),
    value("gzip_min_length", ALL, "TAKE1", "gzip.min_length", values.size),
    value("gzip_window", ALL, "TAKE1", "gzip.window", _logarithm(512, 32768)),
    value("gzip_hash", ALL, "TAKE1", "gzip.memory", _memory),
    summed("gzip_proxied", ALL, "gzip.proxied", values.words(*_PROXIED), frozenset.union),
    value("gzip_vary", ALL, "FLAG", "gzip.vary", values.flag("gzip_vary")),
    value("gzip_http_version", ALL, "TAKE1", "gzip.http_version", _http_version),
    value("gunzip", ALL, "FLAG", "gzip.gunzip", values.flag("gunzip")),
    value("gzip_static", ALL, "TAKE1", "gzip.static", values.word("off", "on", "always")),
    value("brotli", IFS, "FLAG", "brotli.enabled", _brotli),
    media_types("brotli_types", "brotli.types", "text/html"),
    value("brotli_comp_level", ALL, "TAKE1", "brotli.comp_level", values.between(0, 11)),
    value("brotli_min_length", ALL, "TAKE1", "brotli.min_length", values.size),
    value("brotli_window", ALL, "TAKE1", "brotli.window", _logarithm(1024, 16777216)),
    value("brotli_static", ALL, "TAKE1", "brotli.static", values.word("off", "on", "always")),
    special("gzip_disable", ALL, "1MORE", _disable, "gzip.disable"),
)
