"""The response for an open file: whole, a part, several parts, 304 or 412. Werkzeug parses the dates and tags.

Rules:
- ETag and Last-Modified are nginx's (`"mtime-size"`, hexadecimal), so that both can serve the same site. As in nginx, all
  conditions of a request must hold (ngx_http_not_modified_filter_module).
- The body is the open file, so that the worker can send it without copying it.
Source: ngx_http_static_module, ngx_http_range_filter_module; RFC 9110, sections 13 and 14.
"""

from __future__ import annotations

import os
from datetime import timezone
from typing import TYPE_CHECKING, Any

from werkzeug.http import parse_date, parse_etags

from ..http import NOT_SATISFIABLE, byteranges, format_date, parse_ranges
from ..response import FileBody, Parts, Response
from ..routing import content_type, page_response

if TYPE_CHECKING:
    from ..exchange import Exchange
    from ..filters import Filters
    from ..http import Pairs


def file_response(exchange: Exchange, handle: int, status: os.stat_result, coding: str = "") -> Response:
    """Return the response for an open regular file, after the conditions and the range of the request.

    `coding` is the Content-Encoding of a file that is compressed; no part of such a file is sent.
    """
    core = exchange.location.core
    modified = int(status.st_mtime)
    size = status.st_size
    etag = f'"{modified:x}-{size:x}"' if core.etag else ""
    get = exchange.sent
    validators: Pairs = [("ETag", etag)] if etag else []
    kind = exchange.content_type or content_type(exchange.uri, core)
    if exchange.error_response not in (0, 200):
        # A file that serves as an error page is sent whole, without the fields that only hold for 200.
        return _whole(exchange, handle, size, kind, validators + _coded(coding))
    # `error_page … =200` gives an ordinary response, of which the client may ask for a part.
    exchange.error_response = 0
    validators.insert(0, ("Last-Modified", format_date(modified)))
    condition = _condition(get, modified, etag, core.if_modified_since)
    if condition == 412:
        return page_response(412)
    if condition == 304:
        return Response(304, validators)
    ranges: list[tuple[int, int]] | int | None = None
    shown: str | None = None
    wanted = get("HTTP_RANGE")
    validators += _coded(coding)
    limit = 0 if coding else exchange.location.guard.max_ranges
    if wanted is not None and limit != 0 and _if_range_holds(get("HTTP_IF_RANGE"), *_shown_validators(exchange, modified, etag)):
        shown = _shown_type(exchange, size, kind, validators)
        if shown is not None:
            ranges = parse_ranges(wanted, size, limit)
    if ranges == NOT_SATISFIABLE:
        return _not_satisfiable(size)
    if isinstance(ranges, list):
        return _partial(exchange, handle, size, (kind, shown or ""), validators, ranges)
    if limit != 0:
        validators.append(("Accept-Ranges", "bytes"))
    return _whole(exchange, handle, size, kind, validators)


def _coded(coding: str) -> Pairs:
    return [("Content-Encoding", coding)] if coding else []


def _shown_type(exchange: Exchange, size: int, kind: str, validators: Pairs) -> str | None:
    """Return the Content-Type that the client gets; None if a filter changes the file's length: no range can be sent then."""
    filters: Filters | None = getattr(exchange.compiled, "filters", None)
    if filters is None:
        return kind
    typed = [("Content-Type", kind)] if kind else []
    probe = filters.probed(exchange, Response(200, [*typed, ("Content-Length", str(size)), *validators]))
    return None if probe.length is None else probe.header("content-type") or ""


def _whole(exchange: Exchange, handle: int, size: int, kind: str, validators: Pairs) -> Response:
    fields = [("Content-Type", kind)] if kind else []
    fields += [("Content-Length", str(size)), *validators]
    response = Response(200, fields, length=size)
    if size and exchange.method != "HEAD":
        response.body = FileBody(open(handle, "rb", buffering=0), 0, size)
    return response


def _condition(get: Any, modified: int, etag: str, mode: str) -> int:
    """Return 412 or 304 if the conditions of the request ask for it, else 0."""
    since = get("HTTP_IF_UNMODIFIED_SINCE")
    if since is not None:
        given = _seconds(since)
        if given is None or given < modified:
            return 412
    match = get("HTTP_IF_MATCH")
    if match is not None:
        tags = parse_etags(match)
        if not (tags.star_tag or (_quotes(match, etag) and tags.is_strong(etag[1:-1]))):
            return 412
    since, none_match = get("HTTP_IF_MODIFIED_SINCE"), get("HTTP_IF_NONE_MATCH")
    if since is None and none_match is None:
        return 0
    if since is not None:
        given = _seconds(since) if mode != "off" else None
        if given is None or (given != modified and (mode == "exact" or given < modified)):
            return 0
    if none_match is not None:
        tags = parse_etags(none_match)
        if not (tags.star_tag or (_quotes(none_match, etag) and tags.contains_weak(etag[1:-1]))):
            return 0
    return 304


def _quotes(field: str, etag: str) -> bool:
    """Return True if the field contains the tag with its quotes. Werkzeug also accepts tags without quotes."""
    return bool(etag) and etag in field


def _seconds(text: str) -> int | None:
    found = parse_date(text)
    return None if found is None else int(found.replace(tzinfo=found.tzinfo or timezone.utc).timestamp())


def _if_range_holds(value: str | None, modified: int | None, etag: str) -> bool:
    """Return True if `If-Range` names this file, by a strong tag or the exact date (RFC 9110, section 13.1.5)."""
    if value is None:
        return True
    if value.endswith('"'):
        return bool(etag) and value == etag
    return modified is not None and _seconds(value) == modified


def _shown_validators(exchange: Exchange, modified: int, etag: str) -> tuple[int | None, str]:
    """Return the modification time and the tag that the client gets: those of the file, or of `add_header` in their place."""
    shown: int | None = modified
    for field in exchange.location.core.add_header:
        name = field.name.lower()
        if name == "last-modified":
            shown = _seconds(field.value(exchange))
        elif name == "etag":
            etag = field.value(exchange)
    return shown, etag


def _not_satisfiable(size: int) -> Response:
    response = page_response(416)
    response.headers.append(("Content-Range", f"bytes */{size}"))
    return response


# --- parts ------------------------------------------------------------------------------------------------------------------


def _partial(
    exchange: Exchange, handle: int, size: int, kinds: tuple[str, str], validators: Pairs, ranges: list[tuple[int, int]]
) -> Response:
    """Return 206 with one range, or with several as multipart/byteranges (RFC 9110, section 14.6).

    `kinds` are the file's media type and the one that the filters make of it, which the parts name.
    """
    kind, part_kind = kinds
    if len(ranges) == 1:
        start, end = ranges[0]
        fields = [("Content-Type", kind)] if kind else []
        fields += [("Content-Length", str(end - start)), *validators, ("Content-Range", f"bytes {start}-{end - 1}/{size}")]
        response = Response(206, fields, length=end - start)
        if exchange.method != "HEAD":
            response.body = FileBody(open(handle, "rb", buffering=0), start, end - start)
        return response
    multipart, heads, tail, length = byteranges(part_kind, size, ranges)
    fields = [("Content-Type", multipart), ("Content-Length", str(length)), *validators]
    response = Response(206, fields, length=length)
    response.part_type = kind
    if exchange.method != "HEAD":
        response.body = Parts(open(handle, "rb", buffering=0), heads, tail)
    return response
