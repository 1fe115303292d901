"""What may go out in an answer's head, and what the server says there itself.

Rules:
- A status, a name and a value are judged before anything of the head is sent; ValueError says what is wrong.
- A name and a status are judged once, and remembered; so many of them, no more.
"""

from __future__ import annotations

import re
import time
from typing import Any

from ...http import format_date

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_STATUS = re.compile(r"[1-9][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*)?")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_KNOWN = frozenset({"content-length", "transfer-encoding", "connection", "date", "server"})
NAMES: dict[str, str] = {}
"""What a field's name means to the server: its lower-case form, "" for nothing."""
STATUSES: dict[str, int] = {}
_MAX_NAMES = 4096
SERVER = "wsgi_proxy"


class Clock:
    """The Date field's value, and both fields of ours, made once a second."""

    __slots__ = ("date", "ours", "second")

    def __init__(self) -> None:
        self.second = 0
        self.date = ""
        self.ours = ""

    def tick(self, now: int) -> None:
        self.second = now
        self.date = format_date(now)
        self.ours = f"Server: {SERVER}\r\nDate: {self.date}\r\n"


clock = Clock()


def http_date() -> str:
    """The present time as an HTTP-date."""
    now = int(time.time())
    if now != clock.second:
        clock.tick(now)
    return clock.date


def learn_status(status: Any) -> int:
    """The code in a status that may go out; ValueError for any other."""
    if not isinstance(status, str) or not _STATUS.fullmatch(status):
        raise ValueError(f"invalid status {status!r}")
    code = int(status[:3])
    if code < 200 and code != 101:
        raise ValueError(f"{status!r} is no final status")
    if len(STATUSES) < _MAX_NAMES:
        STATUSES[status] = code
    return code


def learn_name(name: Any) -> str:
    """What a field's name means to us: its lower-case form, "" for nothing; ValueError when it is no token."""
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a header")
    lower = name.lower()
    meaning = lower if lower in _KNOWN else ""
    if len(NAMES) < _MAX_NAMES:
        NAMES[name] = meaning
    return meaning


def check_value(name: str, value: str) -> None:
    """ValueError for a value with a control character: a line end in it would make a field of its own (response splitting)."""
    if not _VALUE.fullmatch(value):
        raise ValueError(f"the value of {name} has a character that must not be in it")
