"""Files and fields of responses: root, alias, index, try_files, add_header, expires, and the reports of the proxy's state."""

from __future__ import annotations

import re
from typing import Any

from ...config import AddHeader, Template, parse_expires
from . import values
from .row import ALL, IFS, Bad, BadValue, Converter, Level, Row, Statement, accepted, listed, special, value

FRAMING = frozenset({"content-length", "transfer-encoding"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SELF = re.compile(r"\$(\{)?(document_root|realpath_root)\b")


def _root(level: Level, statement: Statement) -> None:
    name, other = statement.name, "alias" if statement.name == "root" else "root"
    if f"core.{name}" in level.own and level.own[f"core.{name}"] is not None:
        raise BadValue("is duplicate")
    if f"core.{other}" in level.own and level.own[f"core.{other}"] is not None:
        raise Bad(f'"{name}" directive is duplicate, "{other}" directive was specified earlier')
    if name == "alias" and level.own.get("location.kind") == "@":
        raise Bad('the "alias" directive cannot be used inside the named location')
    text = statement.args[0]
    found = _SELF.search(text)
    if found is not None:
        raise Bad(f'the ${found[2]} variable cannot be used in the "{name}" directive')
    if name == "root":
        text = text.rstrip("/") or text[:1]
    level.own[f"core.{name}"] = values.path_template(level, text)
    if name == "alias":
        pattern = level.own["location.pattern"]
        level.own["core.alias_cut"] = -1 if level.own["location.kind"] in ("~", "~*") else len(pattern)
    # Either directive replaces the inherited one.
    level.own[f"core.{other}"] = None


def _index(level: Level, statement: Statement) -> None:
    args = statement.args
    if any(arg.startswith("/") for arg in args[:-1]):
        level.reading.warn('only the last index in "index" directive should be absolute', statement.place)
    level.own["core.index"] = (*level.own.get("core.index", ()), *(level.template(arg) for arg in args))


def _try_files(level: Level, args: list[str]) -> tuple[Template | int, ...]:
    *candidates, last = args
    found: list[Template | int] = [level.template(candidate) for candidate in candidates]
    if last.startswith("="):
        code = values.parse_number(last[1:])
        if code is None or code > 999:
            raise Bad(f'invalid code "{last}"')
        found.append(code)
    else:
        found.append(level.template(last))
        if last.startswith("@"):
            server = level.outer("server")
            place = level.reading.names.place

            def known() -> None:
                names = {inner.own.get("location.pattern") for inner in server.inner} if server else set()
                if last not in names:
                    level.reading.warn(f'could not find named location "{last}"', place)

            level.reading.later(place, known)
    return tuple(found)


def _add_header(level: Level, args: list[str]) -> AddHeader:
    if len(args) == 3 and args[2] != "always":
        raise Bad(f'invalid parameter "{args[2]}"')
    if args[0].lower() in FRAMING:
        level.reading.warn(f'"add_header {args[0]}" has no effect: the server frames its responses', level.reading.names.place)
    name, text = args[:2]
    if not _TOKEN.fullmatch(name):
        # nginx sends the name as it is: `X-Frame-Options:: DENY` is a field whose value begins with a colon.
        name, colon, rest = name.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or "$" in rest:
            message = f'"{args[0]}" is no name of a header field: the field is not sent'
            level.reading.warn(message, level.reading.names.place)
            level.template(text)
            return AddHeader("invalid", level.template(""), len(args) == 3)
        message = f'the name "{args[0]}" of a header field has a colon, which clients take for the beginning of its value'
        level.reading.warn(message, level.reading.names.place)
        value = level.template(text)
        return AddHeader(name, lambda exchange: f"{rest}: {shown}" if (shown := value(exchange)) else "", len(args) == 3)
    return AddHeader(name, level.template(text), len(args) == 3)


def _expires(level: Level, statement: Statement) -> None:
    if "core.expires" in level.own:
        raise BadValue("is duplicate")
    args = list(statement.args)
    modified = len(args) == 2
    if modified and args.pop(0) != "modified":
        raise BadValue("invalid value")
    text = args[0]
    if "$" not in text:
        try:
            parse_expires(text, modified)
        except ValueError as error:
            raise BadValue(str(error)) from None
    level.own["core.expires"] = level.template(text)
    level.own["core.expires_modified"] = modified


def _disable_symlinks(level: Level, statement: Statement) -> None:
    args = statement.args
    if "core.disable_symlinks" in level.own:
        raise BadValue("is duplicate")
    begins = [arg for arg in args if arg.startswith("from=")]
    modes = [arg for arg in args if arg not in begins]
    for mode in modes:
        if mode not in ("off", "on", "if_not_owner"):
            raise Bad(f'invalid parameter "{mode}"')
    if not modes:
        raise Bad('"disable_symlinks" must have "off", "on" or "if_not_owner" parameter')
    if len(modes) == 2:
        raise Bad(f'duplicate parameters "{" ".join(args)}"')
    if begins and modes == ["off"]:
        raise Bad('"from=" cannot be used with "off" parameter')
    level.own["core.disable_symlinks"] = modes[0]
    level.own["core.disable_symlinks_from"] = level.template(begins[0].removeprefix("from=")) if begins else None


def _handler(name: str, setting: str) -> Any:
    def act(level: Level, statement: Statement) -> None:
        if setting in level.own:
            raise BadValue("is duplicate")
        level.own[setting] = True
        level.own["location.handler"] = name

    return act


def _status(level: Level, statement: Statement) -> None:
    kind = statement.args[0] if statement.args else "page"
    if kind not in ("metrics", "json", "page"):
        raise Bad(f'invalid value "{kind}"')
    if len(statement.args) == 2:
        if (kind, statement.args[1]) != ("page", "write"):
            raise Bad(f'invalid value "{statement.args[1]}"')
        kind = "write"
        level.reading.later(statement.place, lambda: _require_access_rules(level))
    level.own["core.metrics"] = kind
    level.own["location.handler"] = "status"


def _require_access_rules(level: Level) -> None:
    """Refuse a page with actions that every address may use."""
    found = level.in_force("guard.access")
    rules = found.own["guard.access"] if found is not None else ()
    if not any(not rule.allow for rule in rules):
        raise Bad('"wsgi_proxy_status page write" needs "allow" and "deny" in its location: name the addresses that may use it')


_WHOLE = "a file is sent from its first byte, whatever `start` and `end` say, which gives a warning"
_UNREAD = "the content of a file is not read"


def _whole_media(name: str) -> Converter:
    def act(level: Level, args: list[str]) -> None:
        message = f'"{name}" has no effect: "start" and "end" in a request are ignored'
        level.reading.warn(message, level.reading.names.place)

    return act


ROWS: tuple[Row, ...] = (
    special("root", IFS, "TAKE1", _root, "core.root"),
    special("alias", "location", "TAKE1", _root, "core.alias"),
    special("index", ALL, "1MORE", _index, "core.index"),
    value("random_index", "location", "FLAG", "core.random_index", values.flag("random_index")),
    accepted("flv", "location", "NOARGS", _WHOLE, _whole_media("flv")),
    accepted("mp4", "location", "NOARGS", _WHOLE, _whole_media("mp4")),
    accepted("mp4_buffer_size", ALL, "TAKE1", _UNREAD, values.size),
    accepted("mp4_max_buffer_size", ALL, "TAKE1", _UNREAD, values.size),
    accepted("mp4_start_key_frame", ALL, "FLAG", _UNREAD, values.flag("mp4_start_key_frame")),
    value("autoindex", ALL, "FLAG", "core.autoindex", values.flag("autoindex")),
    value("autoindex_format", ALL, "TAKE1", "core.autoindex_format", values.word("html", "json", "jsonp", "xml")),
    value("autoindex_exact_size", ALL, "FLAG", "core.autoindex_exact_size", values.flag("autoindex_exact_size")),
    value("autoindex_localtime", ALL, "FLAG", "core.autoindex_localtime", values.flag("autoindex_localtime")),
    value("try_files", "server, location", "2MORE", "core.try_files", _try_files),
    listed("add_header", IFS, "TAKE23", "core.add_header", _add_header),
    value("add_header_inherit", IFS, "TAKE1", "inherit.add_header", values.word("on", "off", "merge")),
    value("add_trailer_inherit", IFS, "TAKE1", "inherit.add_trailer", values.word("on", "off", "merge")),
    listed("add_trailer", IFS, "TAKE23", "core.add_trailer", _add_header),
    special("disable_symlinks", ALL, "TAKE12", _disable_symlinks, "core.disable_symlinks"),
    special("expires", IFS, "TAKE12", _expires, "core.expires"),
    special("empty_gif", "location", "NOARGS", _handler("empty_gif", "core.empty_gif"), "core.empty_gif"),
    special("stub_status", "server, location", "TAKE01", _handler("stub_status", "core.stub_status"), "core.stub_status"),
    special(
        "wsgi_proxy_status",
        "location",
        "TAKE012",
        _status,
        "core.metrics",
    ),
)
