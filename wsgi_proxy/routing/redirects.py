"""Responses without an upstream or a file: `return`, redirects, and the URL of a redirect.

Rules:
- `return` of an error without a text, and every redirect, give only a status and Location. The outcome is Page: the proxy makes
  the page, or follows `error_page`.
- A path in Location becomes a URL by `absolute_redirect`, `server_name_in_redirect` and `port_in_redirect`; the port is the
  listener's, as in nginx.
- A control character never gets into Location: no text of a client can begin another field.
Source: ngx_http_rewrite_module (return), ngx_http_core_module (the three directives).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ..http import escape
from ..response import InternalRedirect, Page, Response
from ..variables import server_address, server_name

if TYPE_CHECKING:
    from ..config import CoreSettings, Return
    from ..exchange import Exchange
    from ..http import Pairs

DEFAULT_TYPES: Final = {"html": "text/html", "gif": "image/gif", "jpg": "image/jpeg"}
"""The `types` of a configuration without that directive."""

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def content_type(uri: str, core: CoreSettings) -> str:
    """Return the media type for a path's extension, else `default_type`; "" for none."""
    dot = uri.rfind(".")
    # A name that begins with a dot has no extension (ngx_http_set_exten).
    if dot > 0 and uri[dot - 1] != "/":
        extension = uri[dot + 1 :]
        if "/" not in extension:
            types = DEFAULT_TYPES if core.types is None else core.types
            found = types.get(extension) or types.get(extension.lower())
            if found is not None:
                return found
    return core.default_type


def page_response(status: int) -> Response:
    """Return a status whose page the proxy makes, by `error_page` or the default."""
    response = Response(status)
    response.outcome = Page()
    return response


def redirect_within(uri: str, args: str | None = None) -> Response:
    """Return the outcome that another location answers: a named one (`@name`), or that of a decoded `uri` with its `args`."""
    response = Response(200)
    response.outcome = InternalRedirect(uri, args)
    return response


def return_response(exchange: Exchange, step: Return) -> Response:
    """Return the response of a `return`."""
    status = step.status
    if status >= 400 and (step.text is None or getattr(step.text, "constant", None) == ""):
        return page_response(status)
    if not exchange.error_response:
        # The text may show $status (ngx_http_send_response).
        exchange.status = status
    text = "" if step.text is None else step.text(exchange)
    if status in REDIRECTS:
        return redirect_response(status, text)
    if status < 200 or status in (204, 304):
        return Response(status)
    body = text.encode("latin-1")
    fields: Pairs = []
    kind = exchange.content_type or content_type(exchange.uri, exchange.location.core)
    if kind:
        fields.append(("Content-Type", kind))
    fields.append(("Content-Length", str(len(body))))
    return Response(status, fields, (body,) if body and exchange.method != "HEAD" else (), length=len(body))


def redirect_response(status: int, location: str) -> Response:
    """Return a redirect of the client; like every status of a page it is subject to `error_page`."""
    response = page_response(status)
    response.headers.append(("Location", location))
    return response


def slash_redirect(exchange: Exchange, path: str) -> Response:
    """Return a 301 to a directory's name with its slash. `path` is decoded."""
    target = escape(path)
    return redirect_response(301, f"{target}?{exchange.args}" if exchange.args else target)


def complete_location(exchange: Exchange, response: Response) -> None:
    """Make the URL of this proxy's own Location (`Response.relative`), when all other fields are known."""
    response.headers = [
        (name, absolute(exchange, value)) if name.lower() == "location" else (name, value) for name, value in response.headers
    ]


def absolute(exchange: Exchange, location: str) -> str:
    """Return the value of Location for a URL or a path."""
    if _CONTROL.search(location):
        location = _CONTROL.sub(lambda match: f"%{ord(match[0]):02X}", location)
    if location[:1] != "/" or not exchange.location.core.absolute_redirect:
        return location
    core = exchange.location.core
    address, port = server_address(exchange)
    if core.server_name_in_redirect:
        host = server_name(exchange)
    elif exchange.host_given:
        host = exchange.host
    else:
        host = f"[{address}]" if ":" in address and not address.startswith("unix:") else address
    usual = "443" if exchange.scheme == "https" else "80"
    shown = f":{port}" if core.port_in_redirect and port not in ("", usual) else ""
    return f"{exchange.scheme}://{host}{shown}{location}"
