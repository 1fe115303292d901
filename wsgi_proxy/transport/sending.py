"""One request to an upstream, on a kept connection or a new one.

Rules:
- If a kept connection fails before the first byte of a response, or with an invalid response, the request is sent once more on a
  new connection, if it may be repeated (RFC 9112, section 9.3.1): it was not sent, or its method is idempotent and its body can
  be rewound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from ..clocks import monotonic
from ..errors import ClientGone, InvalidResponse, UpstreamClosed, UpstreamError
from .client_watch import Watched
from .connect import LEFT, open_stream
from .splice import Body
from .wire import Client, Wire

if TYPE_CHECKING:
    from ..http import Pairs, ResponseHead
    from .route import Route

NON_IDEMPOTENT: Final = frozenset({"POST", "LOCK", "PATCH"})
"""Methods that nginx does not repeat (ngx_http_proxy_module, proxy_next_upstream). RFC 9110, section 9.2.2."""


class Source(Protocol):
    """A body to send. `length` is None if it is unknown; `read` returns b"" at the end."""

    length: int | None
    data: bytes | None

    def read(self, size: int = -1) -> bytes: ...

    @property
    def interruptible(self) -> bool: ...

    @property
    def exhausted(self) -> bool: ...

    @property
    def arrived(self) -> bool: ...

    def give_back(self, block: bytes) -> None: ...

    def check(self) -> None: ...

    def wait(self, other: int) -> bool: ...

    def rewind(self) -> bool: ...

    def fileno(self) -> int: ...


def send(
    method: str,
    head: bytes,
    upload: Source | None,
    route: Route,
    client: Client | Watched | None = None,
    hints: Callable[[Pairs], None] | None = None,
    log: Callable[[str, str], None] | None = None,
    may_close: bool = True,
) -> tuple[Wire, ResponseHead, Body, float, bool]:
    """Send a request. Return (wire, response head, body, seconds to connect, True for a kept connection).

    `route.idle` must be set. Raises UpstreamError with `sent` and `fresh`, any exception of reading `upload`, and ClientGone if
    `client` leaves. `hints` gets the fields of each 103; an exception of it ends the exchange. `log` gets the level and the text
    of each line that a FastCGI server wants to log. Without `may_close` the head has no `Connection: close`.
    """
    idle = route.idle
    assert idle is not None
    started = monotonic()
    wire = idle.take(started)
    reused = wire is not None
    connect_time = 0.0
    while True:
        if wire is None:
            wire = Wire(open_stream(route), idle, monotonic())
            connect_time = wire.opened - started
        try:
            if client is not None:
                if client.gone:
                    raise ClientGone(LEFT)
                wire.attend(client)
            wire.hints = hints
            wire.log = log
            response, complete = wire.converse(method, head, upload, route)
            wire.hints = wire.log = None
            keep = complete and response.keep_alive and route.keep
            if may_close and b"\r\nConnection: close\r\n" in head:
                keep = False
            body = Body(wire, response, keep)
            if wire.sending is not None:
                wire.sending.go_on(wire)
            return wire, response, body, connect_time, reused
        except UpstreamError as error:
            wire.close()
            error.bytes_sent, error.bytes_received = wire.sent, wire.received
            if wire.abandoned:
                raise ClientGone(LEFT) from error
            error.fresh = not reused
            if not reused or not _may_repeat(error, wire, method, upload):
                raise
            wire, reused = None, False
        except BaseException:
            wire.close()
            raise


def _may_repeat(error: UpstreamError, wire: Wire, method: str, upload: Source | None) -> bool:
    """Return True if a request that failed on a kept connection may be sent again on a new one."""
    if isinstance(error, InvalidResponse):
        # The bytes may belong to the previous response; a new connection may bring a valid one.
        return method not in NON_IDEMPOTENT and (upload is None or upload.rewind())
    if not isinstance(error, UpstreamClosed) or wire.heard:
        return False
    if error.sent and method in NON_IDEMPOTENT:
        return False
    return upload is None or upload.rewind()
