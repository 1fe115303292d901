"""The small pages that answer for a status when nothing else does, as nginx words them. Pure.

Rules:
- A page names the status and this software, never an upstream, a path or a fault: those are in the log.
- nginx's own phrases for its own statuses (494 to 499) are kept, because people search for them.
"""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from .. import __version__

if TYPE_CHECKING:
    from ..config import CoreSettings

PHRASES: dict[int, str] = {status.value: status.phrase for status in HTTPStatus} | {
    302: "Found",
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    444: "Connection Closed Without Response",
    494: "Bad Request",
    495: "Bad Request",
    496: "Bad Request",
    497: "Bad Request",
    499: "Client Closed Request",
}
"""Reason phrases by status (RFC 9110, 15; IANA's registry)."""

_TITLES = {
    302: "302 Found",
    408: "408 Request Time-out",
    413: "413 Request Entity Too Large",
    414: "414 Request-URI Too Large",
    416: "416 Requested Range Not Satisfiable",
    494: "400 Request Header Or Cookie Too Large",
    495: "400 The SSL certificate error",
    496: "400 No required SSL certificate was sent",
    497: "400 The plain HTTP request was sent to HTTPS port",
    503: "503 Service Temporarily Unavailable",
    504: "504 Gateway Time-out",
}
_SHOWN_AS_400 = frozenset({494, 495, 496, 497})


def product(core: CoreSettings) -> str:
    """What `Server` and the pages say of us (`server_tokens`)."""
    if core.server_tokens == "off":
        return "wsgi_proxy"
    return f"wsgi_proxy/{__version__}" if core.server_tokens in ("on", "build") else core.server_tokens


def shown_status(status: int) -> int:
    """The status on the wire: nginx's own 494 to 497 go out as 400."""
    return 400 if status in _SHOWN_AS_400 else status


@lru_cache(maxsize=256)
def status_line(status: int, reason: str = "") -> str:
    """`200 OK`, for start_response."""
    return f"{status} {reason or PHRASES.get(status, 'Unknown')}"


@lru_cache(maxsize=256)
def page(status: int, product: str = "wsgi_proxy") -> bytes:
    """The HTML body for a status (text/html); b"" for those that have none."""
    if status in (204, 304) or status < 300:
        return b""
    title = _TITLES.get(status) or f"{status} {PHRASES.get(status, 'Unknown')}"
    heading = title
    if status in _SHOWN_AS_400:
        title, heading = title, "400 Bad Request"
    note = f"<center>{title[4:]}</center>\r\n" if status in _SHOWN_AS_400 else ""
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{heading}</h1></center>\r\n"
        f"{note}<hr><center>{product}</center>\r\n</body>\r\n</html>\r\n"
    ).encode()
