"""The sending half of an HTTP/2 connection: frames of all its streams, sent together and within the client's windows.

Rules:
- Frames that are written in one round of the loop leave together. One greenlet sends the bytes that the kernel does not take
  at once.
- A stream's DATA waits while the queue is long (`congested`), so that a client that does not read costs a bounded memory. Heads
  and replies do not wait. The number of streams and the client's `credit` bound them.
- `credit` is the client's allowance of frames that cost the worker more than the client. Frames that ask for a reply or undo
  work reduce it; time and served requests restore it. ENHANCE_YOUR_CALM ends a connection without credit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...clocks import monotonic
from ...errors import ClientGone
from ..link import CLOSED, Link
from .frames import (
    DEFAULT_WINDOW,
    ENHANCE_YOUR_CALM,
    FRAME_SIZE,
    MAX_WINDOW,
    RST_STREAM,
    WINDOW_UPDATE,
    ConnectionFault,
    number_frame,
)
from .hpack import EMPTY_TABLE

if TYPE_CHECKING:
    from .stream import RequestStream

STREAM_WINDOW: Final = 256 * 1024
"""The bytes of a body that a client may send before the application reads."""
CONNECTION_WINDOW: Final = 4 * 1024 * 1024
"""The same for all bodies of a connection together."""
_CONGESTED: Final = 256 * 1024
_MOST_QUEUED: Final = 2 * 1024 * 1024
_CREDIT: Final = 2000.0
_CREDIT_EACH_SECOND: Final = 100.0
RESET_COST: Final = 10.0
SERVED_GAIN: Final = 5.0
_DATA_GAIN: Final = 0.2
_LENIENT: Final = 1024


class Output(Link):
    """The sending half of `connection.Http2Connection`. `window` are the bytes that the client accepts in all."""

    __slots__ = (
        "_lenient",
        "_lenient_below",
        "_out",
        "_owes_table",
        "_credit",
        "_credit_at",
        "_queued",
        "_receivable",
        "_scheduled",
        "_unsaid",
        "blocked",
        "first_window",
        "frame_size",
        "initial_window",
        "receive_window",
        "streams",
        "window",
    )

    def __init__(self, link: Link) -> None:
        self.adopt(link)
        self.streams: dict[int, RequestStream] = {}
        """The streams that are open, or half-closed on either side."""
        self.window = self.initial_window = DEFAULT_WINDOW
        window = self.listener.settings.http2_window
        self.frame_size = FRAME_SIZE
        """The largest payload in bytes that the client accepts."""
        self.receive_window = max(STREAM_WINDOW, window)
        """The bytes that a client may send on a stream whose body is being read."""
        self.first_window = max(DEFAULT_WINDOW, window)
        """The bytes that it may send before that; at least the default of RFC 9113 until it acknowledges the SETTINGS."""
        self._receivable = CONNECTION_WINDOW
        self._unsaid = 0
        self.blocked: list[RequestStream] = []
        """Streams that wait for the connection's window or for a shorter queue."""
        self._out: list[Any] = []
        self._queued = 0
        self._scheduled = False
        """True if `_flush` will be called or the writing greenlet is active."""
        self._owes_table = False
        self._lenient: dict[int, None] = {}
        """Streams that this side reset. The client may have sent frames for them before it knew."""
        self._lenient_below = 0
        self._credit = _CREDIT
        self._credit_at = monotonic()

    # --- sending ---

    def write(self, data: Any) -> None:
        """Queue a whole frame, or several."""
        if self.state == CLOSED:
            return
        self._out.append(data)
        self._queued += len(data)
        if not self._scheduled:
            self._scheduled = True
            self.service.hub.loop.run_callback(self._flush)

    def write_data(self, stream: RequestStream, head: bytes, block: Any, count: int) -> None:
        """Queue a DATA frame: its header, which other frames may precede, and `count` bytes, for which both windows have room."""
        self.window -= count
        stream.window -= count
        self._credit += _DATA_GAIN
        self.write(head)
        if count and self.state != CLOSED:
            # The application may change its buffer afterwards.
            self._out.append(block if type(block) is bytes else bytes(block))
            self._queued += count

    def congested(self) -> bool:
        """Return True if DATA must wait for a shorter queue."""
        return self._queued >= _CONGESTED

    def _flush(self) -> None:
        """Send the bytes that the kernel takes now, and start a greenlet for the rest. Called in the hub."""
        if self.state == CLOSED:
            return
        stream = self.stream
        out, self._out = self._out, []
        data = out[0] if len(out) == 1 else b"".join(out)
        try:
            sent = stream.send_nowait(data)
            self._queued -= sent
            if sent < len(data):
                self._out.insert(0, data[sent:])
            elif stream.flush_nowait():
                self._sent()
                return
        except OSError as error:
            self._broken(error)
            return
        self.service.crew.run(self._write_out)

    def _write_out(self) -> None:
        """Send the whole queue. Runs in a greenlet."""
        stream = self.stream
        try:
            # Encrypted bytes that the kernel did not take in `_flush`.
            while not stream.flush_nowait():
                stream.wait_writable()
            while self._out and self.state != CLOSED:
                out, self._out = self._out, []
                data = out[0] if len(out) == 1 else b"".join(out)
                stream.sendall(data)
                self._queued -= len(data)
                self._wake_blocked()
        except OSError as error:
            self._broken(error)
        else:
            self._sent()

    def _sent(self) -> None:
        """Note that the queue is empty."""
        self._scheduled = False
        self._wake_blocked()

    def _broken(self, error: OSError) -> None:
        """Note that the client accepts no more bytes."""
        self.service.log.info("%s: sending by HTTP/2 failed: %s", self, error)
        self.close()

    def _wake_blocked(self) -> None:
        if self.blocked:
            blocked, self.blocked = self.blocked, []
            for stream in blocked:
                stream.opened()

    def table_update(self) -> bytes:
        """Return the size update that a field block must begin with, or b"". Call it when the block is queued."""
        if not self._owes_table:
            return b""
        self._owes_table = False
        return EMPTY_TABLE

    # --- streams ---

    def reset(self, stream: RequestStream, code: int) -> None:
        """Reset a stream and send RST_STREAM."""
        if stream.state != CLOSED:
            self.streams.pop(stream.id, None)
            self.write_reset(stream.id, code)
            stream.state = CLOSED

    def write_reset(self, number: int, code: int) -> None:
        """Send RST_STREAM. Later frames of the stream are ignored."""
        self.write(number_frame(RST_STREAM, number, code))
        self.ignore(number)

    def ignore(self, number: int) -> None:
        """Ignore later frames of an ended stream. Only the newest such streams are remembered."""
        lenient = self._lenient
        lenient[number] = None
        if len(lenient) > _LENIENT:
            oldest = next(iter(lenient))
            del lenient[oldest]
            self._lenient_below = max(self._lenient_below, oldest)

    def lose(self, why: str) -> None:
        """End all streams, because the connection has ended."""
        streams, self.streams = self.streams, {}
        for stream in streams.values():
            stream.leave(ClientGone(why))
        self._wake_blocked()

    # --- receiving windows ---

    def consumed(self, count: int) -> None:
        """Note that `count` bytes of DATA were released, and let the client send as many again."""
        self._unsaid += count
        if self._unsaid * 2 >= CONNECTION_WINDOW:
            self.update_window(0, self._unsaid)
            self._receivable += self._unsaid
            self._unsaid = 0

    def update_window(self, number: int, count: int) -> None:
        """Send a WINDOW_UPDATE."""
        self.write(number_frame(WINDOW_UPDATE, number, count))

    def widen(self, increment: int) -> None:
        """Widen the client's window for all streams together."""
        self.window += increment
        if self.window > MAX_WINDOW:
            raise ConnectionFault(3, "a window above 2^31 - 1")
        self._wake_blocked()

    # --- credit ---

    def charge(self, cost: float) -> None:
        """Reduce the client's credit. Raises ConnectionFault(ENHANCE_YOUR_CALM) when none is left."""
        self._credit -= cost
        if self._credit < 0 or self._queued > _MOST_QUEUED:
            now = monotonic()
            self._credit = min(_CREDIT, self._credit + (now - self._credit_at) * _CREDIT_EACH_SECOND)
            self._credit_at = now
            if self._credit < 0 or self._queued > _MOST_QUEUED:
                raise ConnectionFault(ENHANCE_YOUR_CALM, "too many frames that ask for work or undo it")

    def gain(self, amount: float) -> None:
        """Restore credit for a served request."""
        self._credit = min(_CREDIT, self._credit + amount)

    def close(self) -> None:
        if self.state != CLOSED:
            super().close()
            self._out = []
            self._queued = 0
            self.lose("client closed the connection")
