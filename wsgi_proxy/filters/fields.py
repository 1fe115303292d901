"""Changes of a response's fields that several filters make, and its media type.

Rules:
- Names of fields are compared in lower case; the order and the case of the other fields stay.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..config import MediaTypes
    from ..http import Pairs
    from ..response import Response

_CHARSET: Final = re.compile(r'; *charset=(?:"?)(.*?)"?', re.IGNORECASE | re.DOTALL)


_MEANT: Final = frozenset({"accept-ranges", "content-encoding", "content-length", "content-type", "etag"})
_NAMES: Final[dict[str, str]] = {}
_MOST_NAMES: Final = 4096


def meaning(name: str) -> str:
    """Return the lower-case name of a field that codings read or change, "" for any other; known names are remembered."""
    found = _NAMES.get(name)
    if found is None:
        lower = name.lower()
        found = lower if lower in _MEANT else ""
        if len(_NAMES) < _MOST_NAMES:
            _NAMES[name] = found
    return found


class Coded:
    """The values of the fields that decide about a coding, read in one pass; "" for a field that is missing."""

    __slots__ = ("coding", "length", "type")

    def __init__(self, response: Response) -> None:
        self.coding = self.length = self.type = ""
        for name, value in response.headers:
            found = meaning(name)
            if not found:
                continue
            if found == "content-type":
                self.type = value
            elif found == "content-length":
                self.length = value
            elif found == "content-encoding":
                self.coding = value


def encode(response: Response, coding: str) -> None:
    """Adapt the fields of a response that gets a coding: no length, no ranges, a weak entity tag."""
    kept: Pairs = []
    for pair in response.headers:
        found = meaning(pair[0])
        if found == "content-length" or found == "accept-ranges":
            continue
        if found == "etag":
            tag = _weak(pair[1])
            if not tag:
                continue
            pair = (pair[0], tag)
        kept.append(pair)
    kept.append(("Content-Encoding", coding))
    response.headers = kept
    response.length = None


def _weak(tag: str) -> str:
    """Return an entity tag as a weak one, "" for a value that is no tag."""
    return "W/" + tag if tag.startswith('"') else tag if tag.startswith("W/") else ""


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
            value = _weak(value)
            if not value:
                continue
        weak.append((name, value))
    response.headers = weak


def rewrite(response: Response, last_modified: bool) -> None:
    """Adapt the fields of a response whose text a filter changes: no length, no ranges, no validators.

    With `last_modified` (`sub_filter_last_modified`, `ssi_last_modified`) Last-Modified stays, and the entity tag becomes weak.
    """
    clear_length(response)
    if last_modified:
        weaken_etag(response)
    else:
        drop(response, "last-modified", "etag")


def content_type(response: Response) -> tuple[str, str]:
    """Return the media type in lower case and the charset, ("", "") without Content-Type.

    As in nginx only the parameter `charset` of an upstream's field is cut off; another parameter, and any parameter of
    `default_type` and `types`, is a part of the name (ngx_http_upstream_copy_content_type).
    """
    return parsed_type(response, response.part_type or response.header("content-type") or "")


def parsed_type(response: Response, value: str) -> tuple[str, str]:
    """Return the same for the value of a response's Content-Type."""
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
    """Add `Vary: Accept-Encoding` before all other fields, once for all filters, as nginx does; the upstream's Vary stays."""
    if not response.varies:
        response.varies = True
        response.headers.insert(0, ("Vary", "Accept-Encoding"))
