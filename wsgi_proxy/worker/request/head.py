"""Request heads as the worker takes them from a connection's buffer.

Rules:
- `http.take_request_lines` interprets the lines of a head.
- A buffer that ends with an empty line is mostly one head without a body, and is split into lines without a search for its end.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ...errors import ClientError, InvalidLine
from ...http import METHOD, RequestHead, check_partial_request, refused_host, take_request_lines
from .environ import field_keys

if TYPE_CHECKING:
    from ..settings import ListenerSettings

_EMPTY_LINES: Final = re.compile(rb"\A(?:\r\n)+")
_END: Final = b"\r\n\r\n"
_CR: Final = 0x0D
_LINE_TOO_LONG: Final = 414
_HEAD_TOO_LARGE: Final = 494


class Request(RequestHead):
    """A request's head with the environ keys of its fields."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        super().__init__()
        self._keys: dict[str, str] | None = None

    @property
    def keys(self) -> dict[str, str]:
        """The environ keys of the fields, with their values. A field with an underscore in its name is omitted."""
        keys = self._keys
        if keys is None:
            keys = self._keys = field_keys(self.pairs)
        return keys

    @keys.setter
    def keys(self, keys: dict[str, str]) -> None:
        self._keys = keys

    @staticmethod
    def refused(method: str, host: str) -> Request:
        """Return a placeholder for a request that could not be read, for its error response; `host` may be empty."""
        request = Request()
        request.method = method
        request.target = request.uri = "/"
        request.keys = {"HTTP_HOST": host} if host else {}
        request.keep_alive = False
        return request

    @staticmethod
    def of_refused(head: bytes, settings: ListenerSettings) -> Request:
        """Return a placeholder for a refused head, with the method and target of its first line for the log, and its host."""
        words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        request = Request.refused(words[0] if METHOD.fullmatch(words[0]) else "GET", refused_host(head, settings.max_field))
        if len(words) > 1:
            request.target = words[1]
        return request


def take_request(buffer: bytes, settings: ListenerSettings) -> tuple[Request | None, bytes]:
    """Return the first head in `buffer`, None if it is incomplete, and the remaining bytes.

    Raises ClientError as soon as the head can no longer become acceptable.
    """
    if buffer[0] == _CR and buffer.startswith(b"\r\n"):
        # Empty lines before a request are ignored (RFC 9112, section 2.2).
        buffer = _EMPTY_LINES.sub(b"", buffer, 1)
        if not buffer:
            return None, b""
    size = len(buffer)
    if buffer[-4:] == _END and size <= settings.max_field and size <= settings.max_line:
        lines = buffer.split(b"\r\n")
        lines.pop()
        lines.pop()
        try:
            return _request_of(lines, settings), b""
        except ClientError:
            if b"" not in lines:
                raise
            # There is an earlier empty line: pipelined requests, or a body with such an end.
    end = buffer.find(_END) + 4
    if end == 3:
        if size > settings.max_line:
            _check_sizes(buffer, settings)
        check_partial_request(buffer, settings.methods)
        return None, buffer
    head = buffer[:end]
    if end > settings.max_field or end > settings.max_line:
        _check_sizes(head, settings)
    return _request_of(head[:-4].split(b"\r\n"), settings), buffer[end:]


def _request_of(lines: list[bytes], settings: ListenerSettings) -> Request:
    """Return the request of a head's lines, within the settings' limits. Raises ClientError."""
    request = Request()
    take_request_lines(request, lines, settings.methods)
    if settings.folds_methods:
        request.method = request.method.upper()
    if 0 < settings.max_fields < len(lines) - 1:
        raise ClientError("client sent too many header fields", status=_HEAD_TOO_LARGE)
    return request


def _check_sizes(head: bytes, settings: ListenerSettings) -> None:
    """Raise ClientError for a head over the limits: 414 for the request line, 494 (sent as 400) for a field or the whole."""
    line, _, fields = head.removesuffix(b"\r").partition(b"\r\n")
    if len(line) > settings.max_line:
        raise InvalidLine("client sent too long URI", status=_LINE_TOO_LONG)
    if len(head) > settings.max_head or any(len(field) > settings.max_field for field in fields.split(b"\r\n")):
        raise ClientError("client sent too large request header", status=_HEAD_TOO_LARGE)
