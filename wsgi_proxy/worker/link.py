"""The client's end of a connection: what an application may use of it, sending, and how it ends.

Rules:
- Whoever takes a connection over (`take_over`) has it to itself until the answer's iterable is closed.
- A fault of the client's stream is ClientGone, whatever the system calls it: whom it happens to cannot mend it.
- A client that leaves while its request is worked on is told of by alarms; ending only its half is not leaving, for a while.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import ClientGone, ProxyError
from ..net import HALF_CLOSED, Stream, acknowledged, is_torn
from ..net.gevent_side import Side
from ..net.gevent_stream import GreenStream
from .request_body import NO_BODY, NoBody, RequestBody
from .socket import StreamSocket

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ..config import CoreSettings
    from ..http import Pairs
    from .listener import Listener
    from .request_head import Request
    from .settings import ListenerSettings

# What a connection is doing.
OPENING, IDLE, HEAD, BUSY, DISCARD, LINGER, CLOSED = range(7)

_numbers = count(1)


class Link:
    """A client's connection, without what makes requests of its bytes (`worker_connection.Connection`).

    `deadline` (monotonic seconds) is when the wait it is in has lasted too long; `expire` is then called.
    """

    __slots__ = (
        "_alarms",
        "_lingers_until",
        "_side",
        "_socket",
        "body",
        "buffer",
        "deadline",
        "forwarded",
        "gone",
        "head",
        "listener",
        "number",
        "peer",
        "plain_on_tls",
        "proxy_protocol",
        "refused",
        "remote_addr",
        "remote_port",
        "requests",
        "service",
        "settings",
        "started",
        "state",
        "stream",
        "taken",
        "tls",
        "trailers",
        "trusted",
    )

    def __init__(self, listener: Listener, sock: Any, peer: Any) -> None:
        self.listener = listener
        self.number = next(_numbers)
        """Of this connection in its worker ($connection)."""
        self.started = time.time()
        self.service = listener.service
        self.settings = listener.settings
        self.stream: Stream = GreenStream(sock)
        self._side: Side = self.stream.reading
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
        self.head: Request | None = None
        self.body: RequestBody | NoBody = NO_BODY
        self.refused: ProxyError | None = None
        """Why the head that came is not one the application may see."""
        rules = listener.settings.rules
        self.trusted = rules is not None and rules.trusts(peer)
        """gunicorn's `forwarded_allow_ips` covers the peer; never True without such a setting."""
        self.forwarded: dict[str, str] | None = None
        """What trusted fields of the present request say in the environ beside their own keys."""
        self.gone = False
        self.taken = False
        self.trailers: Callable[[], Pairs] | Pairs | None = None
        self.tls: ssl.SSLObject | None = None
        self.plain_on_tls = False
        """Plain HTTP came to a TLS listener."""
        self.proxy_protocol: tuple[str, int, str, int] | None = None
        self._alarms: list[Callable[[], None]] | None = None
        self._lingers_until = 0.0
        self._socket: StreamSocket | None = None

    # --- for the application ---

    def take_over(self) -> tuple[Stream, bytes]:
        """The stream, and the bytes that came behind the request: the caller's until its iterable is closed; then it is closed.

        Nothing more is written here; a head that was given to start_response with 101, or with 2xx for a CONNECT, has been.
        """
        self.taken = True
        self._side.idle = None
        self._alarms = None
        rest, self.buffer = self.buffer, b""
        return self.stream, rest

    def client_gone(self) -> bool:
        """Whether the client has closed (or ended its half of) the connection."""
        if not self.gone and not self.taken and not self.buffer and self.body.ended:
            self.gone = self.stream.peer_closed()
        return self.gone

    def on_gone(self, alarm: Callable[[], None]) -> None:
        """Call once, in the hub, when the client leaves while the present request is worked on. Must not wait."""
        if self._alarms is None:
            self._alarms = [alarm]
        else:
            self._alarms.append(alarm)
        self.watch()

    def watch(self) -> None:
        """See to it that the client's leaving is noticed: what came while nobody waited for it has ended the watching."""
        if not self._side.started:
            self._side.start()

    def heed(self, core: CoreSettings, known: dict[Listener, ListenerSettings]) -> None:
        """What the request's location says of timeouts and keeping; holds to the end of this request and the wait behind it."""
        listener = self.listener
        settings = known.get(listener)
        if settings is None:
            settings = known[listener] = listener.settings.of(core)
        if settings is not self.settings:
            self._use(settings)

    @property
    def server_addr(self) -> tuple[str, int] | str:
        """The local address of this connection: (host, port), or a path."""
        where = self.stream.getsockname()
        return (where[0], where[1]) if isinstance(where, tuple) else where

    # --- the client leaves ---

    def _ended_half(self) -> None:
        """The client has ended its half while we work for it, or reset the connection, which is the end at once.

        Closing looks like ending a half, from here, until something is sent to it: it is given a while to take what is sent.
        """
        if is_torn(self.stream.fileno()):
            self._ring()
        else:
            self.service.later(HALF_CLOSED, partial(self._still_there, self.requests, acknowledged(self.stream.fileno())))

    def _still_there(self, request: int, before: int | None) -> None:
        """Whether a client that ended its half some time ago is still reading."""
        if self.state != BUSY or self.requests != request or self.taken:
            return
        number = self.stream.fileno()
        if is_torn(number) or before is not None and acknowledged(number) == before:
            self._ring()

    def _ring(self) -> None:
        """The client has left: tell those who want to know."""
        self.gone = True
        alarms, self._alarms = self._alarms, None
        for alarm in alarms or ():
            alarm()

    # --- sending ---

    def send(self, data: Buffer) -> None:
        """Send; ClientGone when the client takes it no more, or not in `send_timeout`."""
        try:
            self.stream.sendall(data)
        except OSError as error:
            self.lost(error)

    def send_all(self, buffers: Sequence[Buffer]) -> None:
        """Send several buffers; as `send`."""
        try:
            self.stream.sendmsg(buffers)
        except OSError as error:
            self.lost(error)

    def send_file(self, file: int, offset: int, count: int) -> None:
        """Send a part of an open file; as `send`."""
        try:
            self.stream.sendfile(file, offset, count)
        except OSError as error:
            self.lost(error)

    def lost(self, error: OSError) -> NoReturn:
        """What an error of the client's stream means: raises ClientGone."""
        self.gone = True
        if isinstance(error, TimeoutError):
            raise ClientGone("client timed out while the answer was sent") from error
        raise ClientGone(f"client closed the connection while the answer was sent: {error}") from error

    # --- ends ---

    def drain(self, quiet_until: float) -> None:
        """The worker is to end: be idle only so much longer."""
        if self.state == IDLE and self.deadline > quiet_until:
            self.deadline = quiet_until

    def expire(self) -> None:
        """The deadline has passed."""
        raise NotImplementedError

    def _use(self, settings: ListenerSettings) -> None:
        self.settings = settings
        self.stream.read_timeout = settings.client_body_timeout or None
        self.stream.write_timeout = settings.send_timeout or None

    def _reset(self) -> None:
        self.gone = True
        self.stream.break_off()

    def close(self) -> None:
        """Close and forget; may be called again."""
        if self.state != CLOSED:
            self.state = CLOSED
            self.deadline = inf
            self.gone = True
            self.stream.close()
            # No cycle is left behind: the collector comes seldom, and TLS keeps 30 KB.
            self._socket = None
            self.service.forget(self)

    def __str__(self) -> str:
        return f"client {self.remote_addr or 'unix:'}, listener {self.listener.name}"
