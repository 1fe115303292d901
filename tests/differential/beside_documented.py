"""The differences from nginx that docs/differences.md documents, as the comparison on real files finds them.

Rules:
- Each entry names the subject of its row, and says of one difference whether that row covers it.
- A difference of another kind in the same exchange stays undocumented.
- Caches differ in their decisions. If the number of upstream requests differs in a case with a cache, everything else of the
  exchange follows from that, and so does the later use of the entry for the same target.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from .beside_cases import Case
from .beside_requests import Request


@dataclass
class Difference:
    """One difference of an exchange: its kind as `differences` names it, nginx's value, ours, and the request."""

    kind: str
    theirs: str
    ours: str
    request: Request

    def listed(self) -> set[str]:
        """Return the lower-case names of the fields that the client's Connection lists."""
        found = re.findall(r"(?im)^Connection: (.*?)\r$", self.request.head)
        return {name.strip().lower() for value in found for name in value.split(",")}

    def field(self) -> tuple[str, str]:
        """Return (place, name) of a difference in a field, such as `("upstream field", "host")`; empty for another kind."""
        found = re.fullmatch(r"((?:upstream|response) field) (\S+) (?:missing|added|differs)", self.kind)
        return (found[1], found[2]) if found else ("", "")


def _fragment(found: Difference) -> bool:
    return "#" in found.request.target


def _underscore(found: Difference) -> bool:
    return re.match(r"https?://[^/]*_", found.request.target) is not None and (
        found.kind.startswith("status 400 Bad Request →") or found.kind == "upstream requests"
    )


def _listed(found: Difference) -> bool:
    place, name = found.field()
    name = name.removeprefix("http_").replace("_", "-")
    return place == "upstream field" and found.ours == "[]" and (name == "proxy" or name in found.listed() - {"close"})


def _connection(found: Difference) -> bool:
    place, name = found.field()
    return place == "upstream field" and name in ("connection", "upgrade") and found.ours in ("[]", "['close']", "['upgrade']")


def _empty_host(found: Difference) -> bool:
    return found.kind == "upstream field host added"


def _older(found: Difference) -> bool:
    return found.kind == "upstream version" and (found.theirs, found.ours) == ("HTTP/1.0", "HTTP/1.1")


def _sliced_post(found: Difference) -> bool:
    return found.kind == "upstream field range missing" and not re.match("GET|HEAD", found.request.method)


def _unsent(found: Difference) -> bool:
    return found.kind == "upstream field content-length missing" and "Content-Length: " in found.request.head


def _chunked(found: Difference) -> bool:
    place, name = found.field()
    return (
        place == "upstream field"
        and {
            "content-length": found.ours == "[]",
            "transfer-encoding": found.theirs == "[]" and found.ours == "['chunked']",
        }.get(name, False)
        and "\r\nTransfer-Encoding: chunked" in found.request.head
    )


def _cache_fields(found: Difference) -> bool:
    return found.kind in ("response field age added", "response field cache-status added")


_HOST = "Host that `proxy_set_header` leaves empty"
#: A stored response without Last-Modified is compared with its Date (RFC 9111, section 4.3.2), and a condition is passed on for
#: ten seconds after a response that was not stored.
_VALIDATED = ("status 200 OK → 304 Not Modified", "upstream field if-modified-since added")
#: The subject of a row of docs/differences.md → True for a difference that it covers.
DOCUMENTED: dict[str, Callable[[Difference], bool]] = {
    "a fragment in the target": _fragment,
    "a target in absolute form with `_` in its host": _underscore,
    "fields that the client's `Connection` lists, and `Proxy`": _listed,
    "`Connection` and `Upgrade` set by `proxy_set_header`, such as a constant `upgrade`": _connection,
    _HOST: _empty_host,
    "default HTTP version to upstreams": _older,
    "`$slice_range` in requests other than GET and HEAD": _sliced_post,
    "a chunked request under `proxy_request_buffering off`": _chunked,
    "`Age`, `Cache-Status`": _cache_fields,
}
CACHED = "whether a response is stored, reused and validated"
PARTS = "Range, and a stored response whose upstream sent no `Accept-Ranges`"
LENGTH = "a stored response that came without Content-Length"
HANDSHAKE = "WebSocket handshakes in a cached location"


UNSENT = '`proxy_pass_request_body off` without `proxy_set_header Content-Length ""`'


@dataclass
class Judge:
    """Separates documented differences from others, for one case."""

    case: Case
    #: The targets of which the two caches may hold different responses.
    apart: set[str] = field(default_factory=set)

    def row(self, found: Difference, all_kinds: set[str]) -> str:
        """Return the subject of the row for a difference; "" for none. `all_kinds` are those of its exchange."""
        for subject, covers in DOCUMENTED.items():
            if covers(found):
                return subject
        if "upstream field host added" in all_kinds and found.kind in ("response field location differs", "body"):
            # The upstream's response names its Host.
            return _HOST
        if self.case.bodiless and _unsent(found):
            return UNSENT
        if not self.case.caches:
            return ""
        if found.kind in _VALIDATED and "\r\nIf-Modified-Since: " in found.request.head:
            return CACHED
        if found.kind == "status 200 OK → 206 Partial Content" and "Accept-Ranges: " not in found.theirs:
            return PARTS
        if found.kind == "response field vary differs" and found.theirs.replace("'Accept-Encoding', ", "") == found.ours:
            return LENGTH
        path = found.request.target.partition("?")[0]
        if "\r\nUpgrade: " in found.request.head:
            return HANDSHAKE
        if "upstream requests" in all_kinds:
            self.apart.add(path)
        return CACHED if path in self.apart else ""
