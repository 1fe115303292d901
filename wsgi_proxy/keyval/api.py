"""The pairs over HTTP, as in NGINX Plus's API (ngx_http_api_module, `/http/keyvals/`).

Rules:
- `GET` shows pairs, `POST` adds, `PATCH` changes, and with null removes, `DELETE` empties the zone. Bodies are JSON objects:
  `{"key": "value"}`, or `{"key": {"value": "…", "expire": milliseconds}}`.
- A request changes all its pairs or none.
- An error has NGINX Plus's body: status, text and code.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote

from .matching import accepts
from .state import to_bytes, to_text
from .zone import Change, Full

if TYPE_CHECKING:
    from .log import Entry
    from .zone import Zone

_URI: Final = re.compile(r"/http/keyvals(?:/([^/]*))?/?$")
_LOGGED: Final = 200
"""The largest number of characters of keys in a line of the log."""
Present = Callable[[bytes], "Entry | None"]


class _Pair(NamedTuple):
    """One pair of a body. `kept` is True if the key keeps its value and gets the expiry."""

    key: bytes
    value: bytes | None
    expires: int | None
    kept: bool


class Problem(Exception):
    """An error response: status, text and NGINX Plus's code."""

    def __init__(self, status: int, text: str, code: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code

    def body(self) -> dict[str, Any]:
        """Return the body of the response."""
        return {"error": {"status": self.status, "text": str(self), "code": self.code}}


def zone_in(uri: str) -> str | None:
    """Return the name of the zone in a path that ends in `/http/keyvals/ZONE`, "" for all zones; None for another path."""
    found = _URI.search(uri)
    return None if found is None else found[1] or ""


def perform(zones: Mapping[str, Zone], name: str, method: str, args: str, body: bytes) -> tuple[int, Any, str]:
    """Perform a request, and return its status, its JSON value (None for no body), and the line for the log ("" for none).

    `args` is the query. Raises Problem.
    """
    if not name:
        if method not in ("GET", "HEAD"):
            raise Problem(405, "method disabled", "MethodDisabled")
        return 200, {key: _shown(zone) for key, zone in zones.items()}, ""
    zone = zones.get(name)
    if zone is None:
        raise Problem(404, "keyval not found", "KeyvalNotFound")
    if method in ("GET", "HEAD"):
        return 200, _selected(zone, args), ""
    try:
        if method == "DELETE":
            zone.clear()
            return 204, None, f'keyval zone "{name}": emptied'
        if method in ("POST", "PATCH"):
            pairs = _pairs(zone, body, method)
            keys = json.dumps([to_text(pair.key) for pair in pairs])[:_LOGGED]
            zone.change(lambda present: _checked(pairs, present, method))
            done = "added" if method == "POST" else "changed"
            return 201 if method == "POST" else 204, None, f'keyval zone "{name}": {done} {keys}'
    except Full as error:
        raise Problem(507, str(error), "KeyvalNoSpace") from None
    raise Problem(405, "method disabled", "MethodDisabled")


def _shown(zone: Zone) -> dict[str, str]:
    return {to_text(key): to_text(entry.value or b"") for key, entry in zone.entries().items()}


def _selected(zone: Zone, args: str) -> dict[str, str]:
    """Return all pairs, or the one that `key=` names."""
    wanted = [unquote(part[4:]) for part in args.split("&") if part.startswith("key=")]
    if not wanted:
        return _shown(zone)
    entry = zone.entry(to_bytes(wanted[0]))
    if entry is None or entry.value is None:
        raise Problem(404, "keyval key not found", "KeyvalKeyNotFound")
    return {wanted[0]: to_text(entry.value)}


def _pairs(zone: Zone, body: bytes, method: str) -> list[_Pair]:
    """Return the pairs of a body. `PATCH` allows null for a value, and an expiry alone."""
    try:
        found = json.loads(body)
    except ValueError:
        raise Problem(415, "json error", "JsonError") from None
    if not isinstance(found, dict) or not found:
        raise _bad_format()
    return [_pair(zone, key, value, method == "PATCH") for key, value in found.items()]


def _pair(zone: Zone, key: str, given: Any, patch: bool) -> _Pair:
    value, expires, kept = given, None, False
    if isinstance(given, dict):
        value, duration = given.get("value"), given.get("expire")
        kept = patch and "value" not in given and duration is not None
        if duration is not None:
            if type(duration) is not int or duration <= 0:
                raise _bad_format()
            expires = int(time.time() * 1000) + duration
    name = to_bytes(key)
    if not accepts(zone.settings.kind, name) or not (isinstance(value, str) or value is None and patch):
        raise _bad_format()
    return _Pair(name, None if value is None else to_bytes(value), expires, kept)


def _checked(pairs: list[_Pair], present: Present, method: str) -> list[Change]:
    """Return the changes. Raises Problem if a key to add exists, or one to change does not."""
    made: list[Change] = []
    for key, value, expires, kept in pairs:
        entry = present(key)
        if method == "POST" and entry is not None:
            raise Problem(409, "keyval key already exists", "KeyvalKeyExists")
        if method == "PATCH" and entry is None:
            raise Problem(404, "keyval key not found", "KeyvalKeyNotFound")
        made.append((key, entry.value if kept and entry is not None else value, expires))
    return made


def _bad_format() -> Problem:
    return Problem(400, "invalid keyval format", "KeyvalFormatError")
