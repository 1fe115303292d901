"""Answers that need no upstream and no file: `return`, redirects, and where a redirect leads.

Rules:
- `return` of an error without a text, and whatever else only has a status, is answered by the hallway's page: the Answer's
  `source` is then the module `pages`.
- A path in Location becomes a URL as `absolute_redirect`, `server_name_in_redirect` and `port_in_redirect` say; the port is the
  listener's, as in nginx.
- A control character never gets into Location: what a client put into a URI cannot begin a field of ours.
Source: ngx_http_rewrite_module (return), ngx_http_core_module (the three directives).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..exchange import Answer
from ..http import escape, pages
from ..variables import server_address, server_name

if TYPE_CHECKING:
    from ..config import CoreSettings, Return
    from ..exchange import Exchange, Pairs

DEFAULT_TYPES = {"html": "text/html", "gif": "image/gif", "jpg": "image/jpeg"}
"""The `types` of a configuration that has none."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def content_type(uri: str, core: CoreSettings) -> str:
    """The type by a path's extension, else `default_type`; "" for none."""
    dot = uri.rfind(".")
    # A name that begins with its dot has no extension (ngx_http_set_exten).
    if dot > 0 and uri[dot - 1] != "/":
        extension = uri[dot + 1 :]
        if "/" not in extension:
            types = DEFAULT_TYPES if core.types is None else core.types
            found = types.get(extension) or types.get(extension.lower())
            if found is not None:
                return found
    return core.default_type


def page_answer(status: int) -> Answer:
    """A status alone: the hallway makes its page, or follows its `error_page`."""
    answer = Answer(status)
    answer.source = pages
    return answer


def return_answer(x: Exchange, step: Return) -> Answer:
    """What a `return` answers."""
    status = step.status
    if step.text is None:
        if status >= 400:
            return page_answer(status)
        text = ""
    else:
        text = step.text(x)
        if status >= 400 and not text and getattr(step.text, "constant", None) == "":
            return page_answer(status)
    if status in REDIRECTS:
        return redirect_answer(x, status, text)
    if status < 200 or status in (204, 304):
        return Answer(status)
    body = text.encode("latin-1")
    fields: Pairs = []
    kind = x.content_type or content_type(x.uri, x.location.core)
    if kind:
        fields.append(("Content-Type", kind))
    fields.append(("Content-Length", str(len(body))))
    return Answer(status, fields, (body,) if body and x.method != "HEAD" else (), length=len(body))


def redirect_answer(x: Exchange, status: int, location: str) -> Answer:
    """A redirect with nginx's small page."""
    body = pages.page(status, pages.product(x.location.core))
    fields = [("Content-Type", "text/html"), ("Content-Length", str(len(body))), ("Location", absolute(x, location))]
    return Answer(status, fields, (body,) if x.method != "HEAD" else (), length=len(body))


def slash_redirect(x: Exchange, path: str) -> Answer:
    """301 to a folder's own name, which ends with a slash. `path` is decoded."""
    target = escape(path)
    return redirect_answer(x, 301, f"{target}?{x.args}" if x.args else target)


def absolute(x: Exchange, location: str) -> str:
    """The value of Location for a URL or a path."""
    if _CONTROL.search(location):
        location = _CONTROL.sub(lambda match: f"%{ord(match[0]):02X}", location)
    core = x.location.core
    if location[:1] != "/" or not core.absolute_redirect:
        return location
    address, port = server_address(x)
    if core.server_name_in_redirect:
        host = server_name(x)
    elif x.environ.get("HTTP_HOST"):
        host = x.host
    else:
        host = f"[{address}]" if ":" in address and not address.startswith("unix:") else address
    usual = "443" if x.scheme == "https" else "80"
    shown = f":{port}" if core.port_in_redirect and port not in ("", usual) else ""
    return f"{x.scheme}://{host}{shown}{location}"
