"""The transparent image of one pixel (`empty_gif`).

Source: ngx_http_empty_gif_module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ClientError
from ..http import format_date
from ..response import Response

if TYPE_CHECKING:
    from ..exchange import Exchange

IMAGE = (
    b"GIF89a\x01\x00\x01\x00\x80\x01\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x01\x00,\x00\x00\x00\x00\x01\x00\x01\x00"
    b"\x00\x02\x02L\x01\x00;"
)
_MODIFIED = 23349600
"""nginx's time of change, in seconds since 1970."""


def serve_empty_gif(exchange: Exchange) -> Response:
    """Return the image, or a 304. Raise ClientError (405) for other methods than GET and HEAD."""
    if exchange.method not in ("GET", "HEAD"):
        raise ClientError(status=405)
    modified = ("Last-Modified", format_date(_MODIFIED))
    if exchange.environ.get("HTTP_IF_MODIFIED_SINCE") == modified[1]:
        return Response(304, [modified], ())
    fields = [("Content-Type", "image/gif"), modified, ("Content-Length", str(len(IMAGE)))]
    return Response(200, fields, (IMAGE,), length=len(IMAGE))
