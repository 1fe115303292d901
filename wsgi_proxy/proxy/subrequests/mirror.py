"""`mirror`: copies of the client's requests to other locations, whose responses are dropped.

Rules:
- The copies are sent in the background; neither their time nor their faults reach the client. Faults are in the error log.
- With `mirror_request_body on` (the default) the client's body is read before the request goes on, and each copy has it.
- Subrequests are not copied.
Source: ngx_http_mirror_module.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, cast

from ...errors import ProxyError
from ...logs import errorlog
from ..request_body import Upload, collect
from .request import Subrequests, within

if TYPE_CHECKING:
    from ...config import CoreSettings
    from ...exchange import Exchange


class Mirrors:
    """Sends copies of requests. `spawn` runs a function in the background."""

    def __init__(self, subrequests: Subrequests, spawn: Callable[[Callable[[], None]], None]) -> None:
        self._subrequests = subrequests
        self._spawn = spawn

    def __call__(self, exchange: Exchange, core: CoreSettings) -> None:
        """Send copies of a request to the URIs of `mirror`. Raises the errors of `request_body.collect`."""
        if core.mirror_request_body and exchange.has_body:
            collect(exchange, core)
        for uri in core.mirror:
            inner = within(exchange, background=True)
            inner.method = exchange.method
            inner.environ["REQUEST_METHOD"] = exchange.method
            take_body(inner, exchange)
            self._spawn(_Copy(self._subrequests, inner, uri, exchange.args))


class _Copy:
    """One copy, ready to be sent."""

    __slots__ = ("_args", "_inner", "_subrequests", "_uri")

    def __init__(self, subrequests: Subrequests, inner: Exchange, uri: str, args: str) -> None:
        self._subrequests = subrequests
        self._inner = inner
        self._uri = uri
        self._args = args

    def __call__(self) -> None:
        """Send the copy and drop the response."""
        try:
            self._subrequests.send(self._inner, self._uri, self._args).close()
        except ProxyError as error:
            errorlog.line("error", str(error), self._inner)
        except Exception:  # nothing else reports a defect in the background
            errorlog.logger.exception("defect while mirroring %s %s", self._inner.method, self._inner.target)
        finally:
            for lease in self._inner.leases or ():
                lease.close()


def take_body(inner: Exchange, exchange: Exchange) -> None:
    """Give a copy the body of the request, if it was read."""
    if exchange.content_length == 0:
        inner.content_length = 0
        inner.environ["CONTENT_LENGTH"] = "0"
    held: Upload | None = exchange.upload
    if held is None or not held.whole or held.length is None:
        return
    length = inner.content_length = held.length
    inner.environ["CONTENT_LENGTH"] = str(length)
    inner.request_body = exchange.request_body
    if held.data is not None:
        inner.upload = Upload(length, data=held.data)
        return
    file = cast(IO[bytes], _Shared(os.dup(held.fileno())))
    inner.upload = Upload(length, file=file)
    inner.leases = [inner.upload]


class _Shared:
    """A file of another request, read at an independent position. The two descriptors share the kernel's position."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._at = 0

    def seek(self, position: int) -> int:
        """Set the position."""
        self._at = position
        return position

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, b"" at the end."""
        block = os.pread(self._handle, size, self._at)
        self._at += len(block)
        return block

    def fileno(self) -> int:
        """Return the descriptor, for sendfile."""
        return self._handle

    def close(self) -> None:
        """Close the descriptor; safe to call more than once."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)
