"""The base of client connections: their state, and the interface for applications.

Rules:
- An application that takes a connection over (`take_over`) owns it until the response's iterable is closed.
- Alarms report a client that leaves during its request. A client that only ends its half has not left, for a while.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any, Final

from ..clocks import wall_time
from ..errors import ClientError, ProxyError
from ..net import HALF_CLOSED, Stream, acknowledged, is_torn
from ..net.gevent_side import Side
from ..net.gevent_stream import GreenStream
from .counts import ACTIVE, NOWHERE
from .request import NO_BODY, Body, NoBody
from .sending import Sender
from .socket import StreamSocket

if TYPE_CHECKING:
    from ..config import CoreSettings
    from ..http import Pairs
    from .listener import Listener
    from .request import Request
    from .settings import ListenerSettings

# The states of a connection.
OPENING: Final = 0
IDLE: Final = 1
HEAD: Final = 2
BUSY: Final = 3
DISCARD: Final = 4
LINGER: Final = 5
CLOSED: Final = 6

_numbers: Final = count(1)


class Link(Sender):
    """A client's connection, without a protocol.

    `deadline` (monotonic seconds) limits the current wait. `expire` is called when it has passed.
    """

    __slots__ = (
        "_alarms", "_counted", "_lingers_until", "_local", "_side", "_socket", "body", "buffer", "deadline", "ends", "forwarded",
        "head", "listener", "number", "peer", "pipelined", "plain_on_tls", "proxy_protocol", "refused", "remote_addr",
        "remote_port", "requests", "service", "settings", "started", "state", "taken", "tls", "trailers", "trusted",
    )  # fmt: skip

    def __init__(self, listener: Listener, sock: Any, peer: Any) -> None:
        stream = GreenStream(sock)
        super().__init__(stream)
        self.listener = listener
        self.number = next(_numbers)
        """The serial number of this connection in its worker ($connection)."""
        self.started = wall_time()
        self.service = listener.service
        self.settings = listener.settings
        self.ends = False
        """True if the connection ends with the present response."""
        self._local: tuple[str, int] | str | None = None
        """The local address, once it was asked for."""
        self._side: Side = stream.reading
        self.peer = peer
        if isinstance(peer, tuple):
            self.remote_addr: str = peer[0]
            self.remote_port = str(peer[1])
        else:
            self.remote_addr = self.remote_port = ""
        self.state = OPENING
        self.deadline = inf
        self.buffer = b""
        self.requests = 0
        self.pipelined = False  # the request had arrived before the previous response was sent ($pipe)
        self.head: Request | None = None
        self.body: Body | NoBody = NO_BODY
        self.refused: ProxyError | None = None
        """The fault of a head that is refused."""
        rules = listener.settings.rules
        self.trusted = rules is not None and rules.trusts(peer)
        """True if gunicorn's `forwarded_allow_ips` covers the peer; False without such a setting."""
        self.forwarded: dict[str, str] | None = None
        """Additional environ keys from trusted fields of the current request."""
        self.taken = False
        self.trailers: Callable[[], Pairs] | Pairs | None = None
        self.tls: ssl.SSLObject | None = None
        self.plain_on_tls = False  # plain HTTP arrived at a TLS listener
        self.proxy_protocol: tuple[str, int, str, int] | None = None
        self._alarms: list[Callable[[], None]] | None = None
        self._lingers_until = 0.0
        self._socket: StreamSocket | None = None
        self._counted = NOWHERE
        """The gauge of the service that this connection counts in."""

    def adopt(self, other: Link) -> None:
        """Carry requests over the connection of `other`, in its place or beside it."""
        self.listener = other.listener
        self.number = other.number
        self.started = other.started
        self._local = other._local
        self.service = other.service
        self.settings = other.listener.settings
        self.stream = other.stream
        self._side = other._side
        self.peer = other.peer
        self.remote_addr, self.remote_port = other.remote_addr, other.remote_port
        self.state = other.state
        self.deadline = inf
        self.buffer = b""
        self.pipelined = False
        self.requests = other.requests
        self.head = None
        self.body = NO_BODY
        self.refused = None
        self.trusted = other.trusted
        self.forwarded = None
        self.gone = self.taken = False
        self.trailers = None
        self.tls = other.tls
        self.plain_on_tls = False
        self.proxy_protocol = other.proxy_protocol
        self._alarms = None
        self._lingers_until = 0.0
        self._socket = None
        self._counted = other._counted
        self.bytes_out = self.head_out = 0

    def count_as(self, gauge: int) -> None:
        """Count in this gauge of the service, and no longer in the one before."""
        before = self._counted
        if before != gauge:
            counts = self.service.counts
            counts.add(before, -1)
            counts.add(gauge)
            self._counted = gauge

    # --- for the application ---

    @property
    def can_take_over(self) -> bool:
        """True if `take_over` is possible, because the connection carries one request at a time."""
        return True

    def take_over(self) -> tuple[Stream, bytes]:
        """Return the stream and the bytes behind the request. The caller owns both until its iterable is closed.

        The worker writes nothing more. The head of a 101, or of a 2xx for a CONNECT, has been sent if start_response was called.
        """
        self.taken = True
        self._side.idle = None
        self._alarms = None
        rest, self.buffer = self.buffer, b""
        return self.stream, rest

    def client_gone(self) -> bool:
        """Return True if the client has closed the connection or ended its half."""
        if not self.gone and not self.taken and not self.buffer and self.body.ended:
            self.gone = self.stream.peer_closed()
        return self.gone

    def on_gone(self, alarm: Callable[[], None]) -> None:
        """Call `alarm` once, in the hub, if the client leaves during the current request. It must not wait."""
        if self._alarms is None:
            self._alarms = [alarm]
        else:
            self._alarms.append(alarm)
        self.watch()

    def watch(self) -> None:
        """Watch for the client's end again; bytes that arrived while no reader waited have stopped the watcher."""
        if not self._side.started:
            self._side.start()

    def heed(self, core: CoreSettings, known: dict[Listener, ListenerSettings]) -> None:
        """Apply a location's timeouts and keep-alive settings to this request and the wait behind it."""
        listener = self.listener
        settings = known.get(listener)
        if settings is None:
            settings = known[listener] = listener.settings.of(core)
        if settings is not self.settings:
            self._use(settings)

    def end(self) -> None:
        """Close the connection behind the response to this request."""
        self.ends = True

    @property
    def server_addr(self) -> tuple[str, int] | str:
        """The local address of this connection: (host, port), or a path."""
        where = self._local
        if where is None:
            found = self.stream.getsockname()
            where = self._local = (found[0], found[1]) if isinstance(found, tuple) else found
        return where

    # --- the client leaves ---

    def _ended_half(self) -> None:
        """Ring the alarms if the client reset the connection, or later if it ended its half and acknowledges nothing more.

        A close looks like a half-close until bytes are sent. The client has HALF_CLOSED seconds to acknowledge some.
        """
        if is_torn(self.stream.fileno()):
            self._ring()
        else:
            self.service.later(HALF_CLOSED, partial(self._still_there, self.requests, acknowledged(self.stream.fileno())))

    def _still_there(self, request: int, before: int | None) -> None:
        """Ring the alarms if a client that ended its half acknowledged nothing since; `before` is the count then."""
        if self.state != BUSY or self.requests != request or self.taken:
            return
        number = self.stream.fileno()
        if is_torn(number) or before is not None and acknowledged(number) == before:
            self._ring()

    def _ring(self) -> None:
        """Call the alarms; the client has left."""
        self.gone = True
        alarms, self._alarms = self._alarms, None
        for alarm in alarms or ():
            alarm()

    # --- one request ---

    def may_keep(self) -> bool:
        """Return True when another request may follow the response whose head is being written now."""
        return False

    def judge(self, request: Request) -> None:
        """Apply gunicorn's settings about trusted proxies and underscores, where they govern the listener."""
        settings = self.listener.settings
        rules = settings.rules
        if rules is None:
            return
        if not request.underscored:
            for key in settings.scheme_keys:
                if key in request.keys:
                    break
            else:
                return
        try:
            path = request.uri.partition("?")[0]
            self.forwarded = rules.environ(request.pairs, path, request.underscored, self.trusted)
        except ClientError as error:
            self.refused = error
            self.head = None

    # --- ends ---

    def drain(self, quiet_until: float) -> None:
        """Let an idle connection end at `quiet_until` (monotonic seconds), because the worker shuts down."""
        if self.state == IDLE and self.deadline > quiet_until:
            self.deadline = quiet_until

    def expire(self) -> None:
        """Handle a deadline that has passed."""
        raise NotImplementedError

    def _use(self, settings: ListenerSettings) -> None:
        self.settings = settings
        self.stream.read_timeout = settings.client_body_timeout or None
        self.stream.write_timeout = settings.send_timeout or None

    def close(self) -> None:
        """Close the connection and remove it from the service; may be called again."""
        if self.state != CLOSED:
            self.state = CLOSED
            self.deadline = inf
            self.gone = True
            self.stream.close()
            # Break the reference cycle: the collector runs seldom, and TLS holds 30 KB.
            self._socket = None
            self.count_as(NOWHERE)
            self.service.counts.add(ACTIVE, -1)
            self.service.forget(self)

    def __str__(self) -> str:
        return f"client {self.remote_addr or 'unix:'}, listener {self.listener.name}"
