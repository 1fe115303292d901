"""The checks of an application's status and fields, and the fields that the server adds.

Rules:
- Statuses, names and values are checked before any part of the head is sent. ValueError names the fault.
- Statuses, names, and short fields that recur are checked once and remembered. The memory is bounded.
"""

from __future__ import annotations

import re
from typing import Any, Final

from ...clocks import wall_time
from ...http import format_date

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_STATUS: Final = re.compile(r"[1-9][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*)?")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_KNOWN: Final = frozenset({"content-length", "transfer-encoding", "connection", "date", "server"})
_VARIED: Final = frozenset(
    {"age", "cache-status", "content-range", "etag", "expires", "last-modified", "location", "set-cookie", "x-request-id"}
)
"""Fields whose values seldom recur, or are secrets. They are not remembered."""
NAMES: Final[dict[str, str]] = {}
"""Names of fields that the server interprets, in lower case, by spelling; "" for any other name."""
LINES: Final[dict[tuple[str, str], str]] = {}
"""The lines of fields that recur, checked and with CRLF, by their pairs. The server interprets none of them."""
_LONG_LINE: Final = 128
"""Characters of a line from which it is not remembered."""
STATUSES: Final[dict[str, int]] = {}
_MAX_NAMES: Final = 4096
SERVER: Final = "wsgi_proxy"
"""The value of Server for an application that names none by the method `server_name`."""


class Clock:
    """The values of Server and Date, and their lines, made once a second."""

    __slots__ = ("date", "ours", "second", "server")

    def __init__(self) -> None:
        self.second = 0
        self.date = ""
        self.server = SERVER
        self.ours = ""

    def name(self, server: str) -> None:
        """Use another value of Server from now on."""
        self.server = server
        self.second = 0

    def tick(self, now: int) -> None:
        self.second = now
        self.date = format_date(now)
        self.ours = f"Server: {self.server}\r\nDate: {self.date}\r\n"


clock: Final = Clock()


def http_date() -> str:
    """Return the current time as an HTTP date."""
    now = int(wall_time())
    if now != clock.second:
        clock.tick(now)
    return clock.date


def learn_status(status: Any) -> int:
    """Return the code of a status line, and remember it. Raises ValueError for an invalid one."""
    if not isinstance(status, str) or not _STATUS.fullmatch(status):
        raise ValueError(f"invalid status {status!r}: pass three digits and a reason, such as '200 OK'")
    code = int(status[:3])
    if code < 200 and code != 101:
        raise ValueError(f"{status!r} is not a final status: pass 101 or a status from 200 on")
    if len(STATUSES) < _MAX_NAMES:
        STATUSES[status] = code
    return code


def learn_name(name: Any) -> str:
    """Return a name in lower case if the server interprets it, else "". Raises ValueError if it is not a token."""
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is not a header name: use letters, digits and !#$%&'*+.^_`|~-")
    lower = name.lower()
    meaning = lower if lower in _KNOWN else ""
    if len(NAMES) < _MAX_NAMES:
        NAMES[name] = meaning
    return meaning


def remember_line(pair: Any, line: str) -> None:
    """Remember the line of a field that has been checked and that the server does not interpret. A full memory is cleared."""
    if len(line) < _LONG_LINE and type(pair) is tuple and pair[0].lower() not in _VARIED:
        if len(LINES) >= _MAX_NAMES:
            LINES.clear()
        LINES[pair] = line


def check_value(name: str, value: str) -> None:
    """Raise ValueError for a value with a control character: a line end would start another field (response splitting)."""
    if not _VALUE.fullmatch(value):
        raise ValueError(f"the value of {name} has a control character or one outside latin-1: encode or remove it")
