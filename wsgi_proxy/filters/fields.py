"""Changes of a response's fields that several filters make, and its media type.

Rules:
- Names of fields are compared in lower case; the order and the case of the other fields stay.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config import MediaTypes
    from ..response import Response

_CHARSET = re.compile(r'; *charset=(?:"?)(.*?)"?', re.IGNORECASE | re.DOTALL)


def drop(response: Response, *names: str) -> None:
    """Remove the fields with these lower-case names."""
    response.headers = [pair for pair in response.headers if pair[0].lower() not in names]


def clear_length(response: Response) -> None:
    """Make the length of the body unknown (ngx_http_clear_content_length); no ranges of it are offered."""
    drop(response, "content-length", "accept-ranges")
    response.length = None


def weaken_etag(response: Response) -> None:
    """Make the entity tag weak, because the bytes change (ngx_http_weak_etag); a value that is no tag is removed."""
    weak = []
    for name, value in response.headers:
        if name.lower() == "etag":
            if not value.startswith(("W/", '"')):
                continue
            if value.startswith('"'):
                value = "W/" + value
        weak.append((name, value))
    response.headers = weak


def content_type(response: Response) -> tuple[str, str]:
    """Return the media type in lower case and the charset, ("", "") without Content-Type.

    As in nginx only the parameter `charset` of an upstream's field is cut off; another parameter, and any parameter of
    `default_type` and `types`, is a part of the name (ngx_http_upstream_copy_content_type).
    """
    value = response.header("content-type")
    if not value:
        return "", ""
    if response.charset:
        return value.rpartition(";")[0].lower(), response.charset
    if response.source is not None and ";" in value:
        for found in re.finditer(";", value):
            charset = _CHARSET.fullmatch(value, found.start())
            if charset is not None:
                return value[: found.start()].lower(), charset[1]
    return value.lower(), ""


def has_type(response: Response, types: MediaTypes) -> bool:
    """Return True if a set of media types contains the response's (ngx_http_test_content_type)."""
    return types is None or content_type(response)[0] in types


def vary(response: Response) -> None:
    """Add `Vary: Accept-Encoding`, once for all filters; an equal field of the upstream is not looked for."""
    if not response.varies:
        response.varies = True
        response.headers.append(("Vary", "Accept-Encoding"))
