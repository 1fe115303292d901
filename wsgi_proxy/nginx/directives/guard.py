"""Access rules, passwords, rate and connection limits, real addresses, referers and secure links."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Any

from ...config import Access, LimitConn, LimitConnZone, LimitReq, LimitReqZone, Template
from ...variables import compile_regex
from . import values
from .cache import zone_of
from .rewrite import variable
from .row import ALL, Bad, BadValue, Level, Row, Statement, listed, special, value

_ACCESS = "http, server, location, limit_except"
_LOG_LEVELS = ("info", "notice", "warn", "error")


# --- addresses --------------------------------------------------------------------------------------------------------------


def network(level: Level, text: str) -> Any:
    """Return the network of `address[/bits]`, with nginx's warning about low bits; None for a text that is no network."""
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if "/" in text and ipaddress.ip_interface(text).ip != found.network_address:
        level.reading.warn(f"low address bits of {text} are meaningless", level.reading.names.place)
    return found


def _rule(allow: bool) -> Any:
    def convert(level: Level, args: list[str]) -> Access:
        text = args[0]
        if text in ("all", "unix:"):
            return Access(allow, text)
        found = network(level, text)
        if found is None:
            raise Bad(f'invalid parameter "{text}"')
        return Access(allow, found)

    return convert


def _real_ip_from(level: Level, statement: Statement) -> None:
    text = statement.args[0]
    known = level.own.setdefault("guard.real_ip_from", [])
    if text == "unix:":
        known.append(text)
        return
    found = network(level, text)
    if found is not None:
        known.append(found)
        return
    try:
        if "/" in text:
            raise OSError
        responses = socket.getaddrinfo(text, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Bad(f'host not found in set_real_ip_from "{text}"') from None
    known += [ipaddress.ip_network(response[4][0]) for response in responses]


# --- passwords, subrequests -------------------------------------------------------------------------------------------------


def _auth_request(level: Level, args: list[str]) -> str:
    if "$" in args[0]:
        raise Bad('"auth_request" with variables is not supported by wsgi_proxy')
    return "" if args[0] == "off" else args[0]


def _auth_request_set(level: Level, args: list[str]) -> tuple[str, Template]:
    name = variable(args[0])
    level.reading.names.declare_set(name)
    return name.lower(), level.template(args[1])


def _user_file(level: Level, args: list[str]) -> Template:
    """Return the path of a password file, relative to the directory of the configuration, as in nginx."""
    return values.path_template(level, args[0], beside_configuration=True)


# --- limits -----------------------------------------------------------------------------------------------------------------


def _limit_req_zone(level: Level, statement: Statement) -> None:
    key, *parameters = statement.args
    name, size, rate = "", 0, 0
    for parameter in parameters:
        if parameter.startswith("zone="):
            name, size = zone_of(parameter, "zone size")
        elif parameter.startswith("rate="):
            found = re.fullmatch(r"rate=([0-9]+)r/([sm])", parameter)
            if found is None or not int(found[1]):
                raise Bad(f'invalid rate "{parameter}"')
            rate = int(found[1]) * 1000 // (60 if found[2] == "m" else 1)
        else:
            raise Bad(f'invalid parameter "{parameter}"')
    if not name:
        raise Bad('"limit_req_zone" must have "zone" parameter')
    known = level.reading.limit_req_zones
    if name in known:
        raise Bad(f'limit_req_zone "{name}" is already bound to key "{key}"')
    # nginx's rate without `rate=` is one request per second.
    known[name] = LimitReqZone(name, level.template(key), size, rate or 1000, statement.place)


def _limit_req(level: Level, statement: Statement) -> None:
    zone, burst, delay = "", 0, 0
    nodelay = False
    for parameter in statement.args:
        key, _, rest = parameter.partition("=")
        if key == "zone" and rest:
            zone = rest
        elif key in ("burst", "delay"):
            number = values.parse_number(rest)
            if number is None or (key == "burst" and not number):
                raise Bad(f'invalid {key} value "{parameter}"')
            burst, delay = (number, delay) if key == "burst" else (burst, number)
        elif parameter == "nodelay":
            nodelay = True
        else:
            raise Bad(f'invalid parameter "{parameter}"')
    if not zone:
        raise Bad('"limit_req" must have "zone" parameter')
    known = level.own.setdefault("guard.limit_req", [])
    if any(limit.zone == zone for limit in known):
        raise BadValue("is duplicate")
    known.append(LimitReq(zone, burst, None if nodelay else delay))
    _later_known(level, zone, "limit_req_zones", statement)


def _limit_conn_zone(level: Level, statement: Statement) -> None:
    key, parameter = statement.args
    if not parameter.startswith("zone="):
        raise Bad(f'invalid parameter "{parameter}"')
    name, size = zone_of(parameter, "zone size")
    known = level.reading.limit_conn_zones
    if name in known:
        raise Bad(f'limit_conn_zone "{name}" is already bound to key "{key}"')
    known[name] = LimitConnZone(name, level.template(key), size, statement.place)


def _limit_conn(level: Level, statement: Statement) -> None:
    zone, text = statement.args
    number = values.parse_number(text)
    if not number:
        raise Bad(f'invalid number of connections "{text}"')
    if number > 65535:
        raise Bad("connection limit must be less 65536")
    known = level.own.setdefault("guard.limit_conn", [])
    if any(limit.zone == zone for limit in known):
        raise BadValue("is duplicate")
    known.append(LimitConn(zone, number))
    _later_known(level, zone, "limit_conn_zones", statement)


def _later_known(level: Level, zone: str, zones: str, statement: Statement) -> None:
    def known() -> None:
        if zone not in getattr(level.reading, zones):
            raise Bad(f'zero size shared memory zone "{zone}"')

    level.reading.later(statement.place, known)


# --- referers, secure links -------------------------------------------------------------------------------------------------


def _valid_referers(level: Level, statement: Statement) -> None:
    known = level.own.setdefault("guard.valid_referers", [])
    for text in statement.args:
        if text.startswith("~"):
            known.append(compile_regex(text[1:], True))
        elif "://" in text:
            raise Bad(f'invalid parameter "{text}"')
        else:
            known.append(text)
    if all(item in ("none", "blocked") for item in known):
        raise Bad('the "none" or "blocked" referers are specified in the "valid_referers" directive without any valid referer')


def _secure_link(name: str) -> Any:
    def act(level: Level, statement: Statement) -> None:
        target = f"guard.{name}"
        if target in level.own:
            raise BadValue("is duplicate")
        others = ("secure_link", "secure_link_md5") if name == "secure_link_secret" else ("secure_link_secret",)
        if any(f"guard.{other}" in level.own for other in others):
            raise Bad('"secure_link_secret" cannot be mixed with "secure_link" and "secure_link_md5"')
        text = statement.args[0]
        level.own[target] = text if name == "secure_link_secret" else level.template(text)

    return act


def _satisfy(level: Level, args: list[str]) -> bool:
    return bool(values.word("all", "any")(level, args) == "any")


ROWS: tuple[Row, ...] = (
    listed("allow", _ACCESS, "TAKE1", "guard.access", _rule(True)),
    listed("deny", _ACCESS, "TAKE1", "guard.access", _rule(False)),
    value("satisfy", ALL, "TAKE1", "guard.satisfy_any", _satisfy),
    value("auth_basic", _ACCESS, "TAKE1", "guard.auth_basic", values.unless_off(values.template, None)),
    value(
        "auth_basic_user_file",
        _ACCESS,
        "TAKE1",
        "guard.auth_basic_user_file",
        _user_file,
    ),
    value("auth_request", ALL, "TAKE1", "guard.auth_request", _auth_request),
    listed("auth_request_set", ALL, "TAKE2", "guard.auth_request_set", _auth_request_set),
    special("limit_req_zone", "http", "TAKE3", _limit_req_zone),
    special("limit_req", ALL, "TAKE123", _limit_req, "guard.limit_req"),
    value("limit_req_status", ALL, "TAKE1", "guard.limit_req_status", values.between(400, 599)),
    value("limit_req_log_level", ALL, "TAKE1", "guard.limit_req_log_level", values.word(*_LOG_LEVELS)),
    value("limit_req_dry_run", ALL, "FLAG", "guard.limit_req_dry_run", values.flag("limit_req_dry_run")),
    special("limit_conn_zone", "http", "TAKE2", _limit_conn_zone),
    special("limit_conn", ALL, "TAKE2", _limit_conn, "guard.limit_conn"),
    value("limit_conn_status", ALL, "TAKE1", "guard.limit_conn_status", values.between(400, 599)),
    value("limit_conn_log_level", ALL, "TAKE1", "guard.limit_conn_log_level", values.word(*_LOG_LEVELS)),
    value("limit_conn_dry_run", ALL, "FLAG", "guard.limit_conn_dry_run", values.flag("limit_conn_dry_run")),
    special("set_real_ip_from", ALL, "TAKE1", _real_ip_from, "guard.real_ip_from"),
    value("real_ip_header", ALL, "TAKE1", "guard.real_ip_header", values.text),
    value("real_ip_recursive", ALL, "FLAG", "guard.real_ip_recursive", values.flag("real_ip_recursive")),
    special("valid_referers", "server, location", "1MORE", _valid_referers, "guard.valid_referers"),
    special("secure_link", ALL, "TAKE1", _secure_link("secure_link"), "guard.secure_link"),
    special("secure_link_md5", ALL, "TAKE1", _secure_link("secure_link_md5"), "guard.secure_link_md5"),
    special("secure_link_secret", ALL, "TAKE1", _secure_link("secure_link_secret"), "guard.secure_link_secret"),
)
