"""`autoindex on`: the listing of a directory as nginx's HTML, XML, JSON or JSONP.

Rules:
- Directories precede files, both sorted by name. Names that begin with a dot are left out.
- File names are untrusted: they are escaped as URI components in links, and as HTML or JSON in the text.
Source: ngx_http_autoindex_module.
"""

from __future__ import annotations

import html
import os
import re
import stat
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import quote

from ..errors import ClientError
from ..http import MONTHS, format_date
from ..response import Response
from ..variables import argument

if TYPE_CHECKING:
    from ..config import CoreSettings
    from ..exchange import Exchange

_NAME_WIDTH = 50
# The characters that nginx does not escape in a component of a path (NGX_ESCAPE_URI_COMPONENT).
_SAFE = "-_.~"
_TYPES = {
    "html": "text/html",
    "xml": "text/xml; charset=utf-8",
    "json": "application/json",
    "jsonp": "application/javascript",
}
_CALLBACK = re.compile(r"[0-9A-Za-z_.]{0,128}")
_JSON_ESCAPES = re.compile(r'[\x00-\x1f"\\]')
_JSON_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
_SCALES = ((1024**3, 1024**3 - 1, "G"), (1024**2, 1024**2 - 1, "M"), (1024, 9999, "K"))

Entry = tuple[bytes, os.stat_result]


def listing(exchange: Exchange, path: bytes) -> Response:
    """Return the listing of a directory.

    Raise OSError if the directory cannot be read, ClientError (400) for an invalid callback of JSONP.
    """
    core = exchange.location.core
    kind = core.autoindex_format
    callback = _callback(exchange) if kind == "jsonp" else ""
    if kind == "jsonp" and not callback:
        kind = "json"
    entries = _entries(path)
    if kind == "html":
        text = _html(exchange, core, entries)
    elif kind == "xml":
        text = _xml(entries)
    else:
        text = _json(entries)
        if callback:
            text = f"/* callback */\r\n{callback}({text});"
    body = text.encode("latin-1")
    fields = [("Content-Type", _TYPES[kind]), ("Content-Length", str(len(body)))]
    return Response(200, fields, (body,) if exchange.method != "HEAD" else (), length=len(body))


def _entries(path: bytes) -> list[Entry]:
    """Return the names and states of a directory's entries, directories first."""
    entries = []
    with os.scandir(path) as found:
        for entry in found:
            if entry.name.startswith(b"."):
                continue
            try:
                status = entry.stat()
            except OSError:  # a dangling link is listed, too
                status = entry.stat(follow_symlinks=False)
            entries.append((entry.name, status))
    entries.sort(key=lambda row: (not stat.S_ISDIR(row[1].st_mode), row[0]))
    return entries


def _callback(exchange: Exchange) -> str:
    """Return the argument `callback` of a request for JSONP, "" without one."""
    name = argument(exchange, "callback=") or ""
    if not _CALLBACK.fullmatch(name):
        problem = "too long" if len(name) > 128 else "invalid"
        raise ClientError(f'client sent {problem} callback name: "{name}"')
    return name


def _kind(status: os.stat_result) -> str:
    return "directory" if stat.S_ISDIR(status.st_mode) else "file" if stat.S_ISREG(status.st_mode) else "other"


# --- XML and JSON -----------------------------------------------------------------------------------------------------------


def _xml(entries: list[Entry]) -> str:
    lines = ['<?xml version="1.0"?>\r\n<list>\r\n']
    for name, status in entries:
        kind = _kind(status)
        t = time.gmtime(status.st_mtime)
        date = f"{t.tm_year:4}-{t.tm_mon:02}-{t.tm_mday:02}T{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}Z"
        size = f' size="{status.st_size}"' if kind == "file" else ""
        lines.append(f'<{kind} mtime="{date}"{size}>{_shown(name.decode("latin-1"))}</{kind}>\r\n')
    return "".join((*lines, "</list>\r\n"))


def _json(entries: list[Entry]) -> str:
    rows = []
    for name, status in entries:
        kind = _kind(status)
        size = f', "size":{status.st_size}' if kind == "file" else ""
        date = format_date(int(status.st_mtime))
        rows.append(f'{{ "name":"{_json_text(name)}", "type":"{kind}", "mtime":"{date}"{size} }}')
    return "[" + ",".join("\r\n" + row for row in rows) + "\r\n]"


def _json_text(name: bytes) -> str:
    return _JSON_ESCAPES.sub(_json_escape, name.decode("latin-1"))


def _json_escape(match: re.Match[str]) -> str:
    char = match[0]
    if char in '"\\':
        return "\\" + char
    return _JSON_SHORT.get(char) or f"\\u{ord(char):04X}"


# --- HTML -------------------------------------------------------------------------------------------------------------------


def _html(exchange: Exchange, core: CoreSettings, entries: list[Entry]) -> str:
    title = _shown(exchange.uri)
    lines = [f"<html>\r\n<head><title>Index of {title}</title></head>\r\n<body>\r\n<h1>Index of {title}</h1><hr><pre>"]
    lines.append('<a href="../">../</a>\r\n')
    charset = exchange.location.charset.name
    utf8 = charset is not None and charset(exchange).lower() == "utf-8"
    clock = time.localtime if core.autoindex_localtime else time.gmtime
    lines += [_line(name, status, core.autoindex_exact_size, clock, utf8) for name, status in entries]
    lines.append("</pre><hr></body>\r\n</html>\r\n")
    return "".join(lines)


def _shown(text: str) -> str:
    return html.escape(text, quote=False).replace('"', "&quot;")


def _line(name: bytes, status: os.stat_result, exact: bool, clock: Callable[[float], time.struct_time], utf8: bool) -> str:
    is_file = not stat.S_ISDIR(status.st_mode)
    slash = "" if is_file else "/"
    # The width is counted in characters if the page is in UTF-8, else in bytes.
    text = name.decode("utf-8", "surrogateescape") if utf8 else name.decode("latin-1")
    width = len(text + slash)
    if width > _NAME_WIDTH:
        text, slash, width = text[: _NAME_WIDTH - 3] + "..>", "", _NAME_WIDTH
    shown = text.encode("utf-8", "surrogateescape").decode("latin-1") if utf8 else text
    t = clock(status.st_mtime)
    date = f"{t.tm_mday:02}-{MONTHS[t.tm_mon - 1]}-{t.tm_year} {t.tm_hour:02}:{t.tm_min:02}"
    if exact:
        size = f"{status.st_size:>19}" if is_file else f"{'-':>19}"
    else:
        size = _rounded(status.st_size) if is_file else "      -"
    link = quote(name, safe=_SAFE) + ("" if is_file else "/")
    return f'<a href="{link}">{_shown(shown)}{slash}</a>{" " * (_NAME_WIDTH - width)} {date} {size}\r\n'


def _rounded(size: int) -> str:
    """Return a size in bytes rounded to K, M or G, in seven columns."""
    for unit, above, letter in _SCALES:
        if size > above:
            return f"{size // unit + (size % unit > unit // 2 - 1):>6}{letter}"
    return f" {size:>6}"
