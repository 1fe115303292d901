"""The head of a CGI response: fields without a status line, which `Status` replaces.

Rules (RFC 3875, section 6; ngx_http_fastcgi_process_header, ngx_http_uwsgi_process_status_line):
- Without `Status` the status is 302 if there is a Location, else 200. A uwsgi or SCGI server may send an HTTP status line
  as well.
- A line ends with CRLF or LF. An empty line ends the head, and a response may begin with it.
- The framing is the protocol's: Transfer-Encoding and Connection have no meaning here and are dropped.
"""

from __future__ import annotations

import re
from typing import Final

from ..errors import InvalidResponse
from ..http import ResponseHead, parse_response_head

_STATUS_LINE: Final = re.compile(rb"HTTP/[0-9]+\.[0-9]+ +([0-9]{3})(?: +(.*))?\Z", re.DOTALL)
_SPECIAL: Final = frozenset({"status", "location", "connection", "keep-alive", "transfer-encoding"})
"""Fields with a meaning of their own; a head without them is read as it is."""
_NAMES: Final[dict[str, bool]] = {}
"""True for each spelling of a name in _SPECIAL, False for others, remembered."""
_MOST_NAMES: Final = 2048
_DROPPED: Final = (b"connection", b"keep-alive", b"transfer-encoding")
_WHILE: Final = "while reading response header from upstream"


def end_of_head(data: bytes) -> int:
    """Return the index behind the empty line that ends the head; 0 if it has not arrived."""
    if data[:1] == b"\n":
        return 1
    if data[:2] == b"\r\n":
        return 2
    plain, returned = data.find(b"\n\n"), data.find(b"\n\r\n")
    if plain < 0 or 0 <= returned < plain:
        return returned + 3 if returned >= 0 else 0
    return plain + 2


def parse_gateway_head(data: bytes, method: str, status_line: bool = False) -> ResponseHead:
    """Return the head in `data`, which ends with its empty line. Raise InvalidResponse.

    `keep_alive` is False: the protocol decides about the connection. `status_line` accepts an HTTP status line.
    """
    head = _plain_head(data, method)
    if head is not None:
        return head
    lines = data.replace(b"\r\n", b"\n").split(b"\n")
    first = b""
    if status_line and lines[0][:5] == b"HTTP/":
        found = _STATUS_LINE.match(lines[0])
        if found is not None:
            first = found[1] + b" " + (found[2] or b"")
            del lines[0]
    kept = []
    status = location = b""
    for line in lines:
        if not line or line[:5] == b"HTTP/":
            # nginx skips a second status line, which some servers send.
            continue
        name, _, value = line.partition(b":")
        lower = name.lower()
        if lower == b"status":
            if status:
                continue
            status = value.strip(b" \t")
        elif lower == b"location":
            location = line
        elif lower in _DROPPED:
            continue
        kept.append(line)
    if not first:
        first = status or (b"302 Moved Temporarily" if location else b"200 OK")
        if not first[:3].isdigit():
            shown = status.decode("latin-1")
            raise InvalidResponse(f'upstream sent invalid status "{shown}" {_WHILE}')
    code, reason = first[:3], first[3:].strip(b" \t")
    if int(code) < 200:
        raise InvalidResponse(f"upstream sent the status {int(code)} {_WHILE}")
    head = parse_response_head(b"\r\n".join([b"HTTP/1.1 " + code + b" " + reason, *kept, b"", b""]), method)
    head.keep_alive = False
    return head


def _plain_head(data: bytes, method: str) -> ResponseHead | None:
    """Return a head without special fields, as most are; None for any other."""
    if data[:5] == b"HTTP/" or data.count(b"\n") != data.count(b"\r\n"):
        return None
    try:
        head = parse_response_head(b"HTTP/1.1 200 OK\r\n" + data, method)
    except InvalidResponse:
        return None
    names = _NAMES
    for name, _ in head.pairs:
        special = names.get(name)
        if special is None:
            special = name.lower() in _SPECIAL
            if len(names) < _MOST_NAMES:
                names[name] = special
        if special:
            return None
    head.keep_alive = False
    return head
