"""Logs that are sent to a syslog server: `syslog:server=address[,facility=…][,severity=…][,tag=…][,nohostname]`.

Rules:
- A message is one datagram in the form of RFC 3164, as nginx sends it, over UDP or to a unix socket.
- Sending never waits and never fails a request. A lost message is reported to the error log at most once a minute; those of the
  error log itself are lost silently.
Source: nginx, ngx_syslog.c; RFC 3164, section 4.
"""

from __future__ import annotations

import os
import re
import socket
import time
from dataclasses import dataclass

from ..http import MONTHS

FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "intern", "lpr", "news", "uucp", "clock", "authpriv", "ftp", "ntp", "audit",
    "alert", "cron", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
)  # fmt: skip
SEVERITIES: tuple[str, ...] = ("emerg", "alert", "crit", "error", "warn", "notice", "info", "debug")
PREFIX = "syslog:"
PORT = 514

_LONGEST = 2048 + len("<255>Jan 01 00:00:00 ") + 255 + 1 + 32 + 2
"""The longest message of the error log in bytes (NGX_SYSLOG_MAX_STR)."""


@dataclass(frozen=True)
class Destination:
    """The parameters of `syslog:`. `server` is `host`, `host:port`, `[v6]:port` or `unix:path`."""

    server: str
    facility: int = 23
    severity: int = 6
    tag: str = "nginx"
    hostname: bool = True


def parse(text: str) -> Destination:
    """Return the destination of `syslog:…`. Raises ValueError with nginx's message."""
    found: dict[str, str | int | bool] = {}
    for parameter in text.removeprefix(PREFIX).split(","):
        name, equals, value = parameter.partition("=")
        if parameter == "nohostname":
            found["hostname"] = False
            continue
        if not equals or name not in ("server", "facility", "severity", "tag"):
            raise ValueError(f'unknown syslog parameter "{parameter}"')
        if name in found:
            raise ValueError(f'duplicate syslog "{name}"')
        found[name] = _value(name, value)
    if "server" not in found:
        raise ValueError("no syslog server specified")
    return Destination(**found)  # type: ignore[arg-type]


def _value(name: str, value: str) -> str | int:
    if name in ("facility", "severity"):
        known = FACILITIES if name == "facility" else SEVERITIES
        if value not in known:
            raise ValueError(f'unknown syslog {name} "{value}"')
        return known.index(value)
    if name == "tag":
        if len(value) > 32:
            raise ValueError("syslog tag length exceeds 32")
        if not re.fullmatch(r"[0-9A-Za-z_]*", value):
            raise ValueError('syslog "tag" only allows alphanumeric characters and underscore')
    return value


def address(server: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    """Return the address family and the address of a server. Raises OSError if its name is unknown, ValueError for bad syntax."""
    if server.startswith("unix:"):
        return socket.AF_UNIX, server[5:]
    found = re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]+)(?::([0-9]+))?", server)
    port = int(found[2] or PORT) if found else 0
    if found is None or not 0 < port < 65536:
        raise ValueError("invalid port" if found or ":" in server else "no host")
    family, _, _, _, place = socket.getaddrinfo(found[1].strip("[]"), port, type=socket.SOCK_DGRAM)[0]
    return family, (str(place[0]), int(place[1]))


def stamp(now: float) -> str:
    """Return a time in seconds since the epoch as a syslog header has it: local, with the day padded by a space."""
    t = time.localtime(now)
    return f"{MONTHS[t.tm_mon - 1]} {t.tm_mday:2} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}"


class Sender:
    """The messages of one log. The socket is opened at the first message and, after an error, at the next one."""

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        host = f" {socket.gethostname().lower()}" if destination.hostname else ""
        self._header = f"{host} {destination.tag}: "
        self._socket: socket.socket | None = None

    def send(self, message: bytes, severity: int | None = None) -> None:
        """Send one message, at the severity of the destination by default. Raises OSError if it cannot be sent."""
        destination = self.destination
        priority = destination.facility * 8 + (destination.severity if severity is None else severity)
        head = f"<{priority}>{stamp(time.time())}{self._header}".encode("latin-1", "replace")
        try:
            if self._socket is None:
                self._socket = _connected(destination.server)
            self._socket.send(head + message)
        except BlockingIOError:
            raise
        except OSError:
            self.close()
            raise

    def send_error(self, line: bytes, severity: int) -> None:
        """Send a line of the error log, cut to nginx's length. A line that cannot be sent is lost."""
        try:
            self.send(line[:_LONGEST], severity)
        except OSError:
            return

    def close(self) -> None:
        """Close the socket. A later message opens it again."""
        found, self._socket = self._socket, None
        if found is not None:
            found.close()


def _connected(server: str) -> socket.socket:
    try:
        family, place = address(server)
    except ValueError as error:
        raise OSError(str(error)) from error
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.connect(os.fsencode(place) if isinstance(place, str) else place)
    except OSError:
        made.close()
        raise
    return made
