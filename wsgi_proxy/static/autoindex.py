"""`autoindex on`: the listing of a directory in nginx's layout.

Rules:
- Directories precede files, both sorted by name. Names that begin with a dot are left out.
- File names are untrusted: they are escaped as URI components in links, and as HTML in the text.
Source: ngx_http_autoindex_module.
"""

from __future__ import annotations

import html
import os
import stat
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from ..http import MONTHS
from ..response import Response

if TYPE_CHECKING:
    from ..exchange import Exchange

_NAME_WIDTH = 50
# The characters that nginx does not escape in a component of a path (NGX_ESCAPE_URI_COMPONENT).
_SAFE = "-_.~"


def listing(exchange: Exchange, path: bytes) -> Response:
    """Return the page that lists a directory. Raise OSError if the directory cannot be read."""
    entries = []
    with os.scandir(path) as found:
        for entry in found:
            if entry.name.startswith(b"."):
                continue
            try:
                status = entry.stat()
            except OSError:  # a dangling link is listed, too
                status = entry.stat(follow_symlinks=False)
            entries.append((not stat.S_ISDIR(status.st_mode), entry.name, status))
    entries.sort(key=lambda row: row[:2])
    title = _shown(exchange.uri)
    lines = [f"<html>\r\n<head><title>Index of {title}</title></head>\r\n<body>\r\n<h1>Index of {title}</h1><hr><pre>"]
    lines.append('<a href="../">../</a>\r\n')
    lines += [_line(name, status, is_file) for is_file, name, status in entries]
    lines.append("</pre><hr></body>\r\n</html>\r\n")
    body = "".join(lines).encode("latin-1")
    fields = [("Content-Type", "text/html"), ("Content-Length", str(len(body)))]
    return Response(200, fields, (body,) if exchange.method != "HEAD" else (), length=len(body))


def _shown(text: str) -> str:
    return html.escape(text, quote=False).replace('"', "&quot;")


def _line(name: bytes, status: os.stat_result, is_file: bool) -> str:
    slash = "" if is_file else "/"
    shown = name.decode("latin-1")
    width = len(shown + slash)
    if width > _NAME_WIDTH:
        shown, slash, width = shown[: _NAME_WIDTH - 3] + "..>", "", _NAME_WIDTH
    t = time.gmtime(status.st_mtime)
    date = f"{t.tm_mday:02}-{MONTHS[t.tm_mon - 1]}-{t.tm_year} {t.tm_hour:02}:{t.tm_min:02}"
    size = f"{status.st_size:>19}" if is_file else f"{'-':>19}"
    link = quote(name, safe=_SAFE) + ("" if is_file else "/")
    text = _shown(shown) + slash
    return f'<a href="{link}">{text}</a>{" " * (_NAME_WIDTH - width)} {date} {size}\r\n'
