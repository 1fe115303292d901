"""The default pages for statuses, in nginx's words. Pure.

Rules:
- A page names the status and the server software, never an upstream, a path or a fault. Those belong in the log.
- The phrases of nginx's private statuses (494 to 499) are nginx's, so that a search for them succeeds.
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
"""Reason phrases by status (RFC 9110, section 15; IANA's registry)."""

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
    """Return the product name for `Server` and the pages (ngx_http_core_module, server_tokens)."""
    if core.server_tokens == "off":
        return "wsgi_proxy"
    return f"wsgi_proxy/{__version__}" if core.server_tokens in ("on", "build") else core.server_tokens


def shown_status(status: int) -> int:
    """Return the status that the client sees: nginx's private 494 to 497 are sent as 400."""
    return 400 if status in _SHOWN_AS_400 else status


@lru_cache(maxsize=256)
def status_line(status: int, reason: str = "") -> str:
    """Return a status with its reason phrase, such as `200 OK`, for start_response."""
    return f"{status} {reason or PHRASES.get(status, 'Unknown')}"


@lru_cache(maxsize=256)
def page(status: int, product: str = "wsgi_proxy") -> bytes:
    """Return the HTML body for a status; b"" for a status without one."""
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
