"""The access rules of a location: addresses, passwords, subrequests."""

from __future__ import annotations

from typing import Any

from ...access import lacks_bcrypt
from ...config import Access, Template
from . import values
from .rewrite import variable
from .row import ALL, Bad, Level, Row, listed, value

_ACCESS = "http, server, location, limit_except"


def _rule(allow: bool) -> Any:
    def convert(level: Level, args: list[str]) -> Access:
        text = args[0]
        if text in ("all", "unix:"):
            return Access(allow, text)
        found = values.network(level, text)
        if found is None:
            raise Bad(f'invalid parameter "{text}"')
        return Access(allow, found)

    return convert


def _auth_request(level: Level, args: list[str]) -> str:
    if "$" in args[0]:
        level.reading.warn('"auth_request" takes its variables as text, as in nginx', level.reading.names.place)
    return "" if args[0] == "off" else args[0]


def _auth_request_set(level: Level, args: list[str]) -> tuple[str, Template]:
    name = variable(args[0])
    level.reading.names.declare_set(name)
    return name.lower(), level.template(args[1])


def _user_file(level: Level, args: list[str]) -> Template:
    """Return the path of a password file, relative to the directory of the configuration, as in nginx."""
    if "$" not in args[0] and lacks_bcrypt(level.reading.absolute(args[0], beside_configuration=True)):
        raise Bad(f'"{args[0]}" has bcrypt hashes, which need the package bcrypt: pip install "wsgi-proxy-nginx[bcrypt]"')
    return values.path_template(level, args[0], beside_configuration=True)


def _satisfy(level: Level, args: list[str]) -> bool:
    return bool(values.word("all", "any")(level, args) == "any")


ROWS: tuple[Row, ...] = (
    listed("allow", _ACCESS, "TAKE1", "guard.access", _rule(True)),
    listed("deny", _ACCESS, "TAKE1", "guard.access", _rule(False)),
    value("satisfy", ALL, "TAKE1", "guard.satisfy_any", _satisfy),
    value("auth_basic", _ACCESS, "TAKE1", "guard.auth_basic", values.unless_off(values.template, None)),
    value("auth_basic_user_file", _ACCESS, "TAKE1", "guard.auth_basic_user_file", _user_file),
    value("auth_request", ALL, "TAKE1", "guard.auth_request", _auth_request),
    listed("auth_request_set", ALL, "TAKE2", "guard.auth_request_set", _auth_request_set),
)
