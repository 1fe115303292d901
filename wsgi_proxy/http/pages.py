"""The default pages for statuses, in nginx's words. Pure.

Rules:
- A page names the status and the server software, never an upstream, a path or a fault. Those belong in the log.
- Phrases and titles are nginx's where they differ from RFC 9110 (302 Moved Temporarily, 405 Not Allowed).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from .. import __version__

if TYPE_CHECKING:
    from ..config import CoreSettings

PHRASES: Final[dict[int, str]] = {
    101: "Switching Protocols",
    200: "OK",
    201: "Created",
    202: "Accepted",
    204: "No Content",
    206: "Partial Content",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    303: "See Other",
    304: "Not Modified",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Time-out",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Large",
    415: "Unsupported Media Type",
    416: "Requested Range Not Satisfiable",
    421: "Misdirected Request",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
    505: "HTTP Version Not Supported",
    507: "Insufficient Storage",
}
"""nginx's reason phrases; every other status has an empty one (ngx_http_header_filter_module.c)."""

_NOTES: Final = {
    494: "Request Header Or Cookie Too Large",
    495: "The SSL certificate error",
    496: "No required SSL certificate was sent",
    497: "The plain HTTP request was sent to HTTPS port",
}
"""The second headings of the pages for nginx's private statuses, which are sent as 400."""
_TITLES: Final = {302: "302 Found", 401: "401 Authorization Required", 498: "404 Not Found"}
"""The titles that differ from the status line (ngx_http_special_response.c)."""


def product(core: CoreSettings) -> str:
    """Return the product name for `Server` and the pages (ngx_http_core_module, server_tokens)."""
    if core.server_tokens == "off":
        return "wsgi_proxy"
    return f"wsgi_proxy/{__version__}" if core.server_tokens in ("on", "build") else core.server_tokens


def shown_status(status: int) -> int:
    """Return the status that the client sees: nginx's private 494 to 497 are sent as 400."""
    return 400 if status in _NOTES else status


@lru_cache(maxsize=256)
def status_line(status: int, reason: str = "") -> str:
    """Return a status with its reason phrase, such as `200 OK`, for start_response. The phrase of an unknown status is empty."""
    return f"{status} {reason or PHRASES.get(status, '')}"


_REFRESH_ESCAPED: Final = re.compile(r"[\x00-\x20\"%'\x7f-\xff]")
_PADDING: Final = "<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n" * 6


def wants_padding(agent: str) -> bool:
    """Return True for a User-Agent whose browser shows its own text in place of a short page (`msie_padding`)."""
    at = agent.find("MSIE ")
    if "Opera" in agent:
        return False
    return 0 <= at < len(agent) - 7 or ("Chrome/" in agent and "Gecko/" not in agent)


def is_msie(agent: str) -> bool:
    """Return True for Internet Explorer, but not for an Opera that claims to be one (ngx_http_process_user_agent)."""
    return 0 <= agent.find("MSIE ") < len(agent) - 7 and "Opera" not in agent


def is_msie6(agent: str) -> bool:
    """Return True for Internet Explorer 4, 5, and 6 without service pack 2 (`SV1`) (ngx_http_process_user_agent)."""
    _, found, version = agent.partition("MSIE ")
    if not found or len(version) < 3 or version[1] != "." or "Opera" in agent:
        return False
    return version[0] in "45" or (version[0] == "6" and "SV1" not in version[3:])


def ends_connection(method: str, agent: str | None, browsers: frozenset[str]) -> bool:
    """Return True if `keepalive_disable` names the browser with this User-Agent (ngx_http_handler).

    >>> ends_connection("POST", "MSIE 5.0", frozenset({"msie6"}))
    True
    """
    if agent is None:
        return False
    if method == "POST" and "msie6" in browsers and is_msie6(agent):
        return True
    if "safari" not in browsers or "Safari/" not in agent or "Mac OS X" not in agent:
        return False
    return not ("Gecko/" in agent or "Chrome/" in agent or "Opera" in agent or is_msie(agent))


def refresh_page(url: str) -> bytes:
    """Return the page that loads a URL at once, for `msie_refresh` (ngx_http_send_refresh).

    >>> refresh_page("/a b")
    b'<html><head><meta http-equiv="Refresh" content="0; URL=/a%20b"></head><body></body></html>\\r\\n'
    """
    shown = _REFRESH_ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", url)
    return f'<html><head><meta http-equiv="Refresh" content="0; URL={shown}"></head><body></body></html>\r\n'.encode("latin-1")


@lru_cache(maxsize=256)
def page(status: int, product: str = "wsgi_proxy", padded: bool = False) -> bytes:
    """Return the HTML body for a status; b"" for a status without one. The page of an error may be padded with comments."""
    note = _NOTES.get(status)
    if note is not None:
        title, heading = f"400 {note}", "400 Bad Request"
    elif status in _TITLES:
        title = heading = _TITLES[status]
    elif status >= 300 and status != 304 and status in PHRASES:
        title = heading = f"{status} {PHRASES[status]}"
    else:
        return b""
    second = f"<center>{note}</center>\r\n" if note is not None else ""
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{heading}</h1></center>\r\n"
        f"{second}<hr><center>{product}</center>\r\n</body>\r\n</html>\r\n"
        f"{_PADDING if padded and status >= 400 else ''}"
    ).encode()
