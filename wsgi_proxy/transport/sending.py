"""One request to an upstream, on a kept connection or a new one.

Rules:
- If a kept connection fails before the first byte of a response, or with an invalid response, the request is sent once more on a
  new connection, if it may be repeated (RFC 9112, section 9.3.1): it was not sent, or its method is idempotent and its body can
  be rewound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..clocks import monotonic
from ..errors import ClientGone, InvalidResponse, UpstreamClosed, UpstreamError
from .connect import LEFT, open_stream
from .reply import Call, Reply, Source
from .splice import Body
from .tls import remember_session
from .wire import Wire

if TYPE_CHECKING:
    from .route import Idles, Route

NON_IDEMPOTENT: Final = frozenset({"POST", "LOCK", "PATCH"})
"""Methods that nginx does not repeat (ngx_http_proxy_module, proxy_next_upstream). RFC 9110, section 9.2.2."""


def send(call: Call, route: Route, idles: Idles) -> Reply:
    """Send a request and return its response with an unread body.

    Raises UpstreamError with `sent` and `fresh`, any exception of reading the request's body, ClientGone if the client leaves.
    """
    idle = route.idle
    if idle is None:
        idle = route.idle = idles.of(route)
    client = call.client
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
            wire.hints = call.hints
            wire.log = call.log
            response, complete = wire.converse(call.method, call.head, call.upload, route)
            wire.hints = wire.log = None
            keep = complete and response.keep_alive and route.keep
            if call.may_close and b"\r\nConnection: close\r\n" in call.head:
                keep = False
            body = Body(wire, response, keep)
            if wire.sending is not None:
                wire.sending.go_on(wire)
            if route.tls is not None and not reused:
                remember_session(wire.stream, route)
            return Reply(wire, response, body, connect_time, monotonic() - started, reused)
        except UpstreamError as error:
            wire.close()
            error.bytes_sent, error.bytes_received = wire.sent, wire.received
            if wire.abandoned:
                raise ClientGone(LEFT) from error
            error.fresh = not reused
            if not reused or not _may_repeat(error, wire, call.method, call.upload):
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
