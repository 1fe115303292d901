"""The cookie of `userid`: its value, made once per request, and the variables `$uid_got`, `$uid_set` and `$uid_reset`.

Rules:
- An identifier is four numbers of 32 bits: the service's number (or the server's address), the time, the process, and a counter.
- A cookie that is too short or no base64 counts as none.
Source: ngx_http_userid_module, by behaviour.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import os
import socket
import struct
import time
from typing import TYPE_CHECKING

from ..logs import errorlog
from .connection import server_address

if TYPE_CHECKING:
    from ..config import UserIDSettings
    from ..exchange import Exchange

Numbers = tuple[int, int, int, int]

TEXT: dict[str, str] = {}

OPTIONAL: dict[str, str] = {
    "uid_got": "uid_got(x)",
    "uid_reset": "None",
    "uid_set": "uid_set(x)",
}

_LENGTH = 22
"""The characters of an identifier in base64 without its padding."""
_FIRST = 0x03030302
_process = (0, 0)
_sequence = itertools.count()


class UserID:
    """The identifiers of one request: `got` came with the cookie, `set` is sent; None for none."""

    __slots__ = ("cookie", "fresh", "got", "set")

    def __init__(self, exchange: Exchange, settings: UserIDSettings) -> None:
        self.cookie = ""
        self.got: Numbers | None = self._read(exchange, settings)
        self.set: Numbers | None = None
        self.fresh = False
        """True if `set` is a new identifier; otherwise the mark of the old one changes."""
        if settings.enable in ("on", "v1"):
            self._choose(exchange, settings)

    def _read(self, exchange: Exchange, settings: UserIDSettings) -> Numbers | None:
        cookie = _cookie(exchange.environ.get("HTTP_COOKIE", ""), settings.name)
        if cookie is None:
            return None
        if len(cookie) < _LENGTH:
            errorlog.line("error", f'client sent too short userid cookie "{cookie}"', exchange)
            return None
        try:
            raw = base64.b64decode(cookie[:_LENGTH] + "==", validate=True)
        except (binascii.Error, ValueError):
            errorlog.line("error", f'client sent invalid userid cookie "{cookie}"', exchange)
            return None
        self.cookie = cookie
        found: Numbers = struct.unpack("=4I", raw)
        return found if found[3] else None

    def _choose(self, exchange: Exchange, settings: UserIDSettings) -> None:
        if self.got is not None:
            reset = settings.reset(exchange) if settings.reset is not None else ""
            if reset in ("", "0"):
                if settings.mark and self.cookie[_LENGTH : _LENGTH + 2] != settings.mark + "=":
                    self.set = self.got
                return
            if reset == "log":
                errorlog.line("notice", f'userid cookie "{shown(settings, self.got)}" was reset', exchange)
        self.set = _new(exchange, settings)
        self.fresh = True

    def value(self, settings: UserIDSettings) -> str:
        """Return the value of the cookie to set."""
        if not self.fresh:
            return f"{self.cookie[:_LENGTH]}{settings.mark}="
        assert self.set is not None
        text = base64.b64encode(struct.pack("=4I", *self.set)).decode()
        return f"{text[:_LENGTH]}{settings.mark}=" if settings.mark else text


def user_id(exchange: Exchange) -> UserID:
    """Return the identifiers of a request, made once."""
    found: UserID | None = exchange.user_id
    if found is None:
        found = exchange.user_id = UserID(exchange, exchange.location.userid)
    return found


def uid_got(exchange: Exchange) -> str | None:
    """Return `$uid_got`: the name of the cookie and the identifier that came with it."""
    location = exchange.location_or_none
    if location is None or location.userid.enable == "off":
        return None
    got = user_id(exchange).got
    return None if got is None else shown(location.userid, got)


def uid_set(exchange: Exchange) -> str | None:
    """Return `$uid_set`: the name of the cookie and the identifier that is sent."""
    location = exchange.location_or_none
    if location is None or location.userid.enable not in ("on", "v1"):
        return None
    chosen = user_id(exchange).set
    return None if chosen is None else shown(location.userid, chosen)


def shown(settings: UserIDSettings, numbers: Numbers) -> str:
    """Return an identifier in the form of the variables."""
    return f"{settings.name}={''.join(f'{number:08X}' for number in numbers)}"


def _cookie(text: str, name: str) -> str | None:
    """Return the value of a cookie, whose name matches in any case."""
    name = name.lower()
    for part in text.split(";"):
        key, equals, value = part.strip(" ").partition("=")
        if equals and key.rstrip(" ").lower() == name:
            return value.strip(" ")
    return None


def _new(exchange: Exchange, settings: UserIDSettings) -> Numbers:
    global _process, _sequence
    pid = os.getpid()
    if _process[0] != pid:
        _process = pid, (time.time_ns() // 20_000 & 0xFFFF) << 16 | pid & 0xFFFF
        _sequence = itertools.count()
    number = next(_sequence) * 0x100
    now = int(time.time()) & 0xFFFFFFFF
    if settings.enable == "v1":
        return settings.service or 0, now, _process[1], (1 + number) & 0xFFFFFFFF
    service = _address(exchange) if settings.service is None else socket.htonl(settings.service & 0xFFFFFFFF)
    return service, socket.htonl(now), socket.htonl(_process[1]), socket.htonl((_FIRST + number) & 0xFFFFFFFF)


def _address(exchange: Exchange) -> int:
    """Return the last 32 bits of the server's address as they are in memory; 0 for a unix socket."""
    text = server_address(exchange)[0]
    try:
        raw = socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text.partition("%")[0])
    except OSError:
        return 0
    found: tuple[int] = struct.unpack("=I", raw[-4:])
    return found[0]
