"""The limit on a request body: `client_max_body_size`.

Rules:
- A body with a Content-Length above the limit is refused before it is read. A chunked body is counted while it is read.
- If the server exposes the sizes of the chunks (`bound`), a chunk that exceeds the limit is refused before its data arrives.
Source: ngx_http_core_module, client_max_body_size; ngx_http_request_body.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import ClientError, Refusal
from ..logs import errorlog

if TYPE_CHECKING:
    from ..exchange import Exchange


def bound_body(exchange: Exchange, limit: int) -> None:
    """Limit the request body to `limit` bytes; 0 means no limit. Raises Refusal (413) if its Content-Length is larger."""
    if not limit:
        return
    if exchange.content_length is not None and exchange.content_length > limit:
        errorlog.line("error", f"client intended to send too large body: {exchange.content_length} bytes", exchange)
        exchange.drop_body()
        raise Refusal(status=413)
    if exchange.chunked and not isinstance(exchange.input, BoundedInput):
        exchange.input = BoundedInput(exchange, limit)


def check_unread(exchange: Exchange, limit: int) -> None:
    """Judge the chunks of a body that nothing reads, as far as they have arrived.

    Raises ClientError: 400 if they are malformed, 413 if they exceed `limit` bytes (0 means no limit). The request then goes on
    without the body.
    """
    try:
        bound_body(exchange, limit)
        check = getattr(exchange.input, "check", None)
        if check is not None:
            check()
    except ClientError:
        exchange.drop_body()
        raise


class BoundedInput:
    """A chunked body of at most `limit` bytes. The read that exceeds the limit raises ClientError (413).

    Wraps the `wsgi.input` of the exchange and has the methods of the worker's RequestBody.
    """

    __slots__ = ("_exchange", "_input", "_limit", "_taken")

    def __init__(self, exchange: Exchange, limit: int) -> None:
        self._exchange = exchange
        self._input: Any = exchange.input
        self._limit = limit
        self._taken = 0

    def read(self, size: int | None = -1) -> bytes:
        """Return up to `size` bytes, or the rest of the body."""
        # One byte beyond the limit distinguishes a body that is too long from one that fits.
        left = self._limit - self._taken + 1
        return self._count(self._guarded(self._input.read, left if size is None or size < 0 else min(size, left)))

    def read1(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, only the available ones if the server's body has `read1`."""
        left = self._limit - self._taken + 1
        read = getattr(self._input, "read1", None) or self._input.read
        return self._count(self._guarded(read, left if size < 0 else min(size, left)))

    @property
    def interruptible(self) -> bool:
        """True if `wait` can interrupt a wait for the client."""
        return getattr(self._input, "interruptible", False)

    def wait(self, other: int) -> bool:
        """Call `wait` of the server's body. Returns True if the body has no such method."""
        wait = getattr(self._input, "wait", None)
        return wait is None or bool(wait(other))

    @property
    def exhausted(self) -> bool:
        """True if the server's body says that it was read to its end."""
        return getattr(self._input, "exhausted", False)

    @property
    def arrived(self) -> bool:
        """True if the server's body says that a read returns bytes at once."""
        return getattr(self._input, "arrived", False)

    def check(self) -> None:
        """Raise the error of chunks that have already arrived and are too large or malformed."""
        self._guarded(self._checked, 0)

    def _checked(self, size: int) -> bytes:
        check = getattr(self._input, "check", None)
        if check is not None:
            check()
        return b""

    def _guarded(self, read: Callable[[int], bytes], size: int) -> bytes:
        try:
            if not self._taken and (bound := getattr(self._input, "bound", None)) is not None:
                bound(self._limit)
            return read(size)
        except ClientError as error:
            if error.status != 413:
                raise
            errorlog.line("error", f"client intended to send too large chunked body: {error}", self._exchange)
            raise ClientError(status=413) from error

    def _count(self, block: bytes) -> bytes:
        self._taken += len(block)
        if self._taken > self._limit:
            before = self._taken - len(block)
            errorlog.line("error", f"client intended to send too large chunked body: {before}+{len(block)} bytes", self._exchange)
            raise ClientError(status=413)
        return block

    @property
    def trailers(self) -> Any:
        """The trailer fields of the body; None if the server does not expose them."""
        return getattr(self._input, "trailers", None)
