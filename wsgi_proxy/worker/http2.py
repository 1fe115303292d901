"""A request that came by HTTP/2, as gunicorn reads it, in the words of this house.

Rules:
- Fields keep their order and repetitions, in HTTP/2's lower case; a Cookie that came in pieces is one again (RFC 9113, 8.2.3).
- A response without a body (HEAD, 204, 304) ends with its HEADERS frame. gunicorn sends an empty DATA frame, which clients
  take for a body that is shorter than its Content-Length (RFC 9113, section 8.1.1).
- An answer that breaks off resets its stream, with what our own log says of it and nothing else.
- A body that breaks its framing, or a stream that ends in its midst, is the client's fault: ClientError, ClientGone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gunicorn.http2.errors import HTTP2ConnectionError, HTTP2Error, HTTP2ErrorCode, HTTP2StreamError

from ..errors import ClientError, ClientGone
from .response import http_date


def http2_fields(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The fields of gunicorn's request, whose names are in capitals."""
    cookies = [value for name, value in headers if name == "COOKIE"]
    fields = [(name.lower(), value) for name, value in headers if name != "COOKIE"]
    if cookies:
        fields.append(("cookie", "; ".join(cookies)))
    return fields


class Http2Input:
    """`wsgi.input` (PEP 3333) over gunicorn's body of a stream."""

    __slots__ = ("_body", "_fault")

    def __init__(self, body: Any) -> None:
        self._body = body
        self._fault: HTTP2Error | None = None

    def end(self, answer: Iterable[bytes]) -> None:
        """Where reading failed: HTTP2ConnectionError, for gunicorn the end of it; it would answer on what it closed itself."""
        if self._fault is not None:
            close = getattr(answer, "close", None)
            if close is not None:
                close()
            raise HTTP2ConnectionError(str(self._fault)) from self._fault

    def read(self, size: int | None = -1) -> bytes:
        return self._asked(self._body.read, size)

    def readline(self, size: int | None = -1) -> bytes:
        return self._asked(self._body.readline, size)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _asked(self, read: Callable[[int | None], bytes], size: int | None) -> bytes:
        try:
            return read(None if size is None or size < 0 else size)
        except HTTP2StreamError as error:
            self._fault = error
            raise ClientGone(f"client closed the stream while sending its request body: {error}") from error
        except HTTP2Error as error:
            self._fault = error
            raise ClientError(f"client sent an invalid request body: {error}") from error


class Http2Hints:
    """`wsgi.early_hints` on a stream; ClientGone when the stream takes no more."""

    __slots__ = ("_send",)

    def __init__(self, send: Callable[[list[tuple[str, str]]], None]) -> None:
        self._send = send

    def __call__(self, headers: list[tuple[str, str]]) -> None:
        try:
            self._send(headers)
        except Exception as error:
            # gunicorn's HTTP2Error, or h2's own for a stream that the client has reset.
            raise ClientGone(f"early hints could not be sent: {error}") from error


class Http2Response:
    """An application's response on a stream. Where it is cut (ConnectionResetError, see wsgi.py) the stream is, and no more."""

    __slots__ = ("_blocks", "_writer")

    def __init__(self, blocks: Iterable[bytes], writer: Any) -> None:
        self._blocks = blocks
        self._writer = writer

    def __iter__(self) -> Iterator[bytes]:
        try:
            parts = iter(self._blocks)
        except StopIteration:
            # How an application that closed the connection says that it is done.
            raise HTTP2ConnectionError("closed without a response") from None
        if self._writer._omits_body and not self._writer.headers_sent:
            _send_last_headers(self._writer)
        try:
            yield from parts
        except ConnectionResetError as error:
            response = self._writer
            response.h2_conn.abort_stream(response.stream_id, HTTP2ErrorCode.INTERNAL_ERROR)
            # To gunicorn this is a stream that ended; anything else would be a defect, with a traceback in the log.
            raise HTTP2StreamError(response.stream_id, str(error)) from error

    def close(self) -> None:
        close = getattr(self._blocks, "close", None)
        if close is not None:
            close()


def _send_last_headers(writer: Any) -> None:
    """Send the head of gunicorn's HTTP2Response as its `send_headers` does, with END_STREAM."""
    names = {name.lower() for name, _ in writer.headers}
    fields = list(writer.headers)
    if "server" not in names:
        fields.append(("server", writer.version))
    if "date" not in names:
        fields.append(("date", http_date()))
    if not writer.h2_conn.send_response_headers(writer.stream_id, writer.status_code, fields, end_stream=True):
        raise HTTP2StreamError(writer.stream_id, "stream closed before the response's head was sent")
    writer.headers_sent = writer._stream_ended = True
