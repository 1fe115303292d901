"""Checks of requests that another server has parsed; they refuse the same requests as `http.request`. Pure.

Rules:
- Other WSGI servers accept requests that have more than one reading or that an upstream must not see: fragments, invalid Hosts,
  TRACE, transfer codings that they removed or did not know. Order and repetitions of fields are lost and cannot be checked.
- A server that decodes chunked bodies sets `wsgi.input_terminated`. Without it the end of such a body is unknown, and a read may
  return nothing, or the chunks with their framing. The body is then answered with 411 when it is read.
- The statuses are those of `http.request`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from ..errors import ClientError, InvalidLine
from .syntax import ALLOWED, METHOD, length_of
from .uri import check_host

_NOT_IN_TARGET = bytes(byte for byte in range(256) if byte not in ALLOWED) + b" \t\r\n#"


def check_target(method: str, target: str, protocol: str = "") -> None:
    """Raise ClientError for a method, or a target in any form, that `http.request` refuses or that `protocol` does not have."""
    if not METHOD.fullmatch(method):
        raise InvalidLine("client sent an invalid method")
    if method == "TRACE":
        raise ClientError("client sent TRACE", status=405)  # RFC 9110, section 9.3.8
    data = target.encode("latin-1", "replace")
    if len(data.translate(None, _NOT_IN_TARGET)) != len(data):
        raise InvalidLine("client sent an invalid request target")  # RFC 9112, section 3.2
    wrong = target[:1] not in "/*" or target == "*" and method != "OPTIONS"
    if protocol.startswith("HTTP/2") and wrong and method != "CONNECT":
        raise InvalidLine("client sent an invalid :path")  # RFC 9113, section 8.3.1
    if method == "CONNECT" and not check_host(target)[1]:
        raise ClientError("client sent CONNECT without a port")  # RFC 9110, section 9.3.6


def content_length(environ: Mapping[str, Any]) -> int | None:
    """Return the body's length in bytes; None if there is no length, or the body is chunked.

    Raises ClientError for ambiguous framing (RFC 9112, section 6).
    """
    said = environ.get("CONTENT_LENGTH")
    coding = environ.get("HTTP_TRANSFER_ENCODING")
    if coding is not None:
        if said:
            raise ClientError("client sent Content-Length and Transfer-Encoding")
        if coding.strip(" \t").lower() != "chunked":
            raise ClientError(f"client sent an unknown Transfer-Encoding: {coding[:40]!r}", status=501)
        return None
    if not said:
        return None
    length = length_of(said)
    if length is None:
        raise ClientError(f"client sent an invalid Content-Length: {said[:40]!r}")
    return length


def check_fields(environ: Mapping[str, Any]) -> None:
    """Raise ClientError for an invalid Host. The router decides about a missing one."""
    host = environ.get("HTTP_HOST")
    if host is not None:
        check_host(host)


class UnreadableInput:
    """The chunked body of a server that does not decode chunks: every read raises ClientError(411)."""

    __slots__ = ()

    def check(self) -> NoReturn:
        raise ClientError(
            "client sent a chunked body, which this WSGI server does not decode: use a server that sets wsgi.input_terminated",
            status=411,
        )

    def read(self, size: int | None = -1) -> NoReturn:
        self.check()


class BegunInput:
    """A request's body whose first byte has been read."""

    __slots__ = ("_first", "_input")

    def __init__(self, first: bytes, source: Any) -> None:
        self._first = first
        self._input = source

    def read(self, size: int | None = -1) -> bytes:
        """Return at most `size` bytes, all for a negative size or None; b"" at the end."""
        first, self._first = self._first, b""
        if not first or size == 0:
            self._first = first
            rest: bytes = b"" if size == 0 else self._input.read(size)
            return rest
        if size is None or size < 0:
            return first + bytes(self._input.read(size))
        return first + bytes(self._input.read(size - 1)) if size > 1 else first


def framed_body(environ: Mapping[str, Any], protocol: str, source: Any) -> tuple[int | None, bool, Any]:
    """Return (length in bytes or None, True for a body without a length, input) of the body that `source` reads.

    Raises ClientError as `content_length` does.
    """
    length = content_length(environ)
    if length is None:
        if "HTTP_TRANSFER_ENCODING" in environ:
            return None, True, source if environ.get("wsgi.input_terminated") else UnreadableInput()
        if protocol.startswith("HTTP/2"):
            # HTTP/2 frames a body without a length (RFC 9113, section 8.1).
            begins = getattr(source, "begins", None)
            if begins is not None:
                # The body of ProxyWorker knows its stream. Of any other the first byte shows that there is one.
                return None, begins(), source
            first = source.read(1)
            if first:
                return None, True, BegunInput(first, source)
    return length, False, source
