"""`listen` and `server_name`: the addresses and names of a server block."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from dataclasses import replace

from ...config import Listen
from ...http import file_name
from ...variables import compile_regex
from . import values
from .row import Bad, Level, Row, Statement, special

_WORDS = {
    "default_server": {"default_server": True},
    "default": {"default_server": True},
    "ssl": {"ssl": True},
    "http2": {"http2": True},
    "proxy_protocol": {"proxy_protocol": True},
    "reuseport": {"reuseport": True},
}
_TUNING = ("rcvbuf=", "sndbuf=", "so_keepalive=", "fastopen=")
_PLAIN_TUNING = ("bind", "deferred", "multipath")


def _listen(level: Level, statement: Statement) -> None:
    address, *parameters = statement.args
    listens = _addresses(level, address, statement)
    for parameter in parameters:
        listens = [_with(listen, parameter, level, statement) for listen in listens]
    mine = level.own.setdefault("server.listens", [])
    for listen in listens:
        if any(other.address == listen.address for other in mine):
            raise Bad(f"a duplicate listen {shown(listen)}")
        mine.append(listen)


def _with(listen: Listen, parameter: str, level: Level, statement: Statement) -> Listen:
    """Return the listener with one more parameter."""
    if parameter in _WORDS:
        if parameter == "http2":
            level.reading.warn(
                'the "listen ... http2" directive is deprecated, use the "http2" directive instead', statement.place
            )
        return replace(listen, **_WORDS[parameter])  # type: ignore[arg-type]
    if parameter == "quic":
        raise Bad('the "quic" parameter of "listen" is not supported by wsgi_proxy')
    if parameter.startswith("backlog="):
        backlog = values.parse_number(parameter[8:])
        if not backlog:
            raise Bad(f'invalid backlog "{parameter}"')
        return replace(listen, backlog=backlog)
    if parameter.startswith("ipv6only="):
        if parameter[9:] not in ("on", "off"):
            raise Bad(f'invalid parameter "{parameter}"')
        return replace(listen, ipv6only=parameter == "ipv6only=on")
    if parameter in _PLAIN_TUNING or parameter.startswith(_TUNING):
        level.reading.warn(f'the "{parameter}" parameter of "listen" has no effect here', statement.place)
        return listen
    raise Bad(f'invalid parameter "{parameter}"')


def _addresses(level: Level, text: str, statement: Statement) -> list[Listen]:
    """Return the listeners of an address; a range of ports gives several. A relative socket path is under the prefix."""

    def bad(why: str) -> Bad:
        return Bad(f'{why} in "{text}" of the "listen" directive')

    place = statement.place
    if text.startswith("unix:"):
        path = file_name(text[5:])
        if not path:
            raise bad("no path in the unix domain socket")
        if len(os.fsencode(path)) > 107:
            raise bad("too long path in the unix domain socket")
        return [Listen(unix=os.path.join(level.reading.prefix, path), port=0, place=place)]
    found = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::(.*))?", text)
    if found is None:
        raise bad("invalid host")
    host, port = found.groups()
    if port is None and re.fullmatch(r"[0-9]+(-[0-9]+)?", host):
        host, port = "*", host
    ports = _ports(port, bad) if port is not None else range(80, 81)
    if host in ("", "*"):
        if not host:
            raise bad("no host")
        return [Listen("*", number, place=place) for number in ports]
    return [Listen(_host(host, bad), number, place=place) for number in ports]


def _ports(text: str, bad: object) -> range:
    assert callable(bad)
    first, dash, last = text.partition("-")
    low = values.parse_number(first)
    high = values.parse_number(last) if dash else low
    if low is None or high is None or not 1 <= low <= 65535 or high > 65535:
        raise bad("invalid port")
    if high < low:
        raise bad("invalid port range")
    return range(low, high + 1)


def _host(host: str, bad: object) -> str:
    """Return an address as text. A name is looked up now, as in nginx."""
    assert callable(bad)
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise bad("invalid IPv6 address") from None
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        pass
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError):
        raise bad("host not found") from None


def shown(listen: Listen) -> str:
    """Return the address as nginx shows it in messages."""
    if listen.unix:
        return f"unix:{listen.unix}"
    if listen.host == "*":
        return f"0.0.0.0:{listen.port}"
    return f"[{listen.host}]:{listen.port}" if ":" in listen.host else f"{listen.host}:{listen.port}"


def default_listen() -> Listen:
    """Return the listener of a server without `listen`: port 80 for root, else 8000."""
    return Listen(port=80 if os.geteuid() == 0 else 8000)


# --- server_name ------------------------------------------------------------------------------------------------------------


def _server_name(level: Level, statement: Statement) -> None:
    names = level.own.setdefault("server.names", [])
    patterns = level.own.setdefault("server.name_patterns", [])
    for name in statement.args:
        level.lines.setdefault(f"server_name {name.lower()}", []).append(statement.place)
        if name == "$hostname":
            names.append(socket.gethostname().lower())
        elif name.startswith("~"):
            if name == "~":
                raise Bad('empty regex in server name "~"')
            # A pattern without a capital letter ignores case: the client's name is converted to lower case first.
            pattern = compile_regex(name[1:], True)
            level.reading.names.declare_captures(pattern)
            names.append(name)
            patterns.append((name, pattern))
        else:
            names.append(_name(name, level, statement))


def _name(name: str, level: Level, statement: Statement) -> str:
    if "/" in name:
        level.reading.warn(f'server name "{name}" has suspicious symbols', statement.place)
    bare = name.removeprefix("*.").removesuffix(".*").removeprefix(".")
    if name and (not bare or "*" in bare or ".." in bare):
        raise Bad(f'server name "{name}" is invalid')
    return name.lower()


ROWS: tuple[Row, ...] = (
    special(
        "listen",
        "server",
        "1MORE",
        _listen,
        "server.listens",
    ),
    special("server_name", "server", "1MORE", _server_name, "server.names"),
)
