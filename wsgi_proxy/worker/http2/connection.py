"""A client's HTTP/2 connection (RFC 9113): its reader, the frames of the connection itself, and its end.

Rules:
- A callback of the event loop is the only reader. It takes frame by frame and never waits. A complete request gets a greenlet.
- Before the worker ends a connection, for its own end or after `keepalive_requests`, it sends GOAWAY, finishes the open streams,
  and reads until the client closes. No request is lost, and none is cut.
- Priorities are read and ignored (RFC 9113, section 5.3.2). Nothing is pushed.
"""

from __future__ import annotations

import socket
from math import inf
from typing import TYPE_CHECKING, Final

from ...clocks import monotonic
from ..counts import WAITING
from ..link import BUSY, CLOSED, DISCARD, HEAD, IDLE, LINGER
from ..service import QUIET
from . import frames
from .frames import ConnectionFault
from .output import CONNECTION_WINDOW
from .requests import LIST_LIMIT, StreamFrames

if TYPE_CHECKING:
    from ..link import Link

_READ: Final = 64 * 1024


class Http2Connection(StreamFrames):
    """A connection that speaks HTTP/2. It replaces the `Connection` that accepted the client."""

    __slots__ = ("_greeted",)

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self._greeted = False
        """True once the client's preface has arrived. Its SETTINGS may come later, as in nginx; the defaults apply until then."""

    def begin(self, data: bytes) -> None:
        """Take over from the replaced connection; `data` are the bytes received so far."""
        service = self.service
        service.connections.add(self)
        self.state = IDLE
        self.count_as(WAITING)
        self.deadline = monotonic() + (self.settings.client_header_timeout or inf)
        settings = self.listener.settings
        self.write(
            frames.settings_frame(
                [
                    (frames.MAX_CONCURRENT_STREAMS, settings.http2_streams),
                    (frames.INITIAL_WINDOW_SIZE, settings.http2_window),
                    (frames.MAX_FRAME_SIZE, frames.RECEIVED_SIZE),
                    (frames.MAX_HEADER_LIST_SIZE, min(settings.max_head, LIST_LIMIT)),
                ]
            )
            + frames.number_frame(frames.WINDOW_UPDATE, 0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW)
        )
        self._side.idle = self._on_readable
        self._side.start()
        if service.draining:
            self.drain(monotonic() + QUIET)
        if data:
            self._take(data)
        service.hub.loop.run_callback(self._on_readable)

    # --- reading, in the hub ---

    def _on_readable(self) -> None:
        if self.state == CLOSED:
            return
        try:
            data = self.stream.recv_nowait(_READ)
            if data and self.tls is not None:
                data += self.stream.recv_rest()
        except OSError as error:
            self.service.log.debug("%s: %s", self, error)
            self.close()
            return
        if data is None:
            return
        if not data:
            self.close()
        elif self.state != LINGER and self.state != DISCARD:
            self._take(data)
        elif monotonic() > self._lingers_until:
            self.close()

    def _take(self, data: bytes) -> None:
        """Read the frames in received bytes."""
        try:
            self._frames(self.buffer + data if self.buffer else data)
        except ConnectionFault as fault:
            self._fail(fault)
        except Exception:
            self.service.log.exception("%s: error while reading HTTP/2", self)
            self.close()

    def _frames(self, data: bytes) -> None:
        at = 0
        end = len(data)
        if not self._greeted:
            if not frames.PREFACE.startswith(data[:24]):
                raise ConnectionFault(frames.PROTOCOL_ERROR, "no preface of HTTP/2")
            if end < 24:
                self.buffer = data
                return
            self._greeted = True
            at = 24
        while end - at >= 9:
            length = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            if length > frames.RECEIVED_SIZE:
                raise ConnectionFault(frames.FRAME_SIZE_ERROR, "a frame above SETTINGS_MAX_FRAME_SIZE")
            start = at + 9
            kind, flags = data[at + 3], data[at + 4]
            number = (data[at + 5] & 0x7F) << 24 | data[at + 6] << 16 | data[at + 7] << 8 | data[at + 8]
            if end - start < length:
                self._begun(kind, number)
                break
            at = start + length
            self._frame(kind, flags, number, data[start:at])
            if self.state == CLOSED or self.state == DISCARD or self.state == LINGER:
                self.buffer = b""
                return
        self.buffer = data[at:] if at < end else b""

    def _begun(self, kind: int, number: int) -> None:
        """Handle the header of a frame whose payload has not arrived: refuse it, or limit the time of a request's head."""
        if kind == frames.PUSH_PROMISE:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "PUSH_PROMISE of a client")
        if kind == frames.HEADERS and number & 1 and number > self.last and not self._block_stream:
            self._await_head(number)

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._block_stream and (kind != frames.CONTINUATION or number != self._block_stream):
            # RFC 9113, section 6.10.
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a frame within a field block")
        if kind == frames.HEADERS:
            self._headers(flags, number, payload)
        elif kind == frames.DATA:
            self._data(flags, number, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._window_update(number, payload)
        elif kind == frames.CONTINUATION:
            self._continuation(flags, payload)
        elif kind == frames.RST_STREAM:
            self._rst_stream(number, payload)
        else:
            self._control(kind, flags, number, payload)

    def _control(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """Handle the frames of the connection, and ignore unknown ones."""
        self.charge(1.0)
        if kind == frames.PRIORITY:
            if not number:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "PRIORITY of no stream")
            if len(payload) != 5:
                raise ConnectionFault(frames.FRAME_SIZE_ERROR, "PRIORITY of a wrong length")
            return
        if kind == frames.PUSH_PROMISE:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "PUSH_PROMISE of a client")
        if kind not in (frames.SETTINGS, frames.PING, frames.GOAWAY):
            # RFC 9113, section 5.5: unknown frames are ignored.
            return
        if number:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a frame of the connection on a stream")
        if kind == frames.SETTINGS:
            self._client_settings(flags, payload)
        elif kind == frames.PING:
            if len(payload) != 8:
                raise ConnectionFault(frames.FRAME_SIZE_ERROR, "PING of a wrong length")
            if not flags & frames.ACK:
                self.write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif len(payload) < 8:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "GOAWAY of a wrong length")
        else:
            self._say_last()

    def _client_settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(frames.FRAME_SIZE_ERROR, "an acknowledgement with settings")
            self.first_window = self.listener.settings.http2_window
            return
        for name, value in frames.read_settings(payload):
            if name == frames.INITIAL_WINDOW_SIZE:
                # RFC 9113, section 6.9.2: windows of open streams change with it, and may become negative.
                change = value - self.initial_window
                self.initial_window = value
                for stream in self.streams.values():
                    stream.window += change
                    if stream.window > frames.MAX_WINDOW:
                        raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "a window above 2^31 - 1")
                    stream.opened()
            elif name == frames.MAX_FRAME_SIZE:
                self.frame_size = value
            elif name == frames.HEADER_TABLE_SIZE:
                self._owes_table = True
        self.write(frames.frame(frames.SETTINGS, frames.ACK, 0))

    # --- ends ---

    def drain(self, quiet_until: float) -> None:
        """Ask for no new streams for the shutdown, and accept those that are on their way (RFC 9113, section 6.8)."""
        if self.state in (IDLE, HEAD, BUSY) and not self._final and not self._draining:
            self.write(frames.goaway(frames.MAX_WINDOW, frames.NO_ERROR))
            self._draining = True
            self.deadline = quiet_until

    def expire(self) -> None:
        """Handle a deadline that has passed."""
        if self.state == LINGER or self.state == DISCARD or not self._greeted:
            self.close()
        elif self.state == HEAD:
            self._give_up_head()
        else:
            self._say_last()

    def _say_last(self) -> None:
        """Accept no more streams, and end the connection when the open ones have ended."""
        if self._final:
            return
        self._final = True
        self.deadline = inf
        self.write(frames.goaway(self.last, frames.NO_ERROR))
        if not self.running:
            self._finish()

    def _fail(self, fault: ConnectionFault) -> None:
        """End the connection because of the client's fault, and send it the error code."""
        self.service.log.info("%s: HTTP/2: %s", self, fault)
        if self.state == CLOSED:
            return
        self._final = True
        self.write(frames.goaway(self.last, fault.code))
        self._finish()
        self.lose(f"HTTP/2 ended: {fault}")

    def _finish(self) -> None:
        """Send the queued frames, then close the sending half."""
        self.state = DISCARD
        self.buffer = b""
        now = monotonic()
        settings = self.settings
        self._lingers_until = now + settings.lingering_time
        wait = settings.lingering_timeout
        self.deadline = now + (min(wait, QUIET) if self.service.draining else wait)
        if not self._scheduled:
            self._sent()

    def _sent(self) -> None:
        super()._sent()
        if self.state == DISCARD:
            self.state = LINGER
            self.stream.shutdown(socket.SHUT_WR)
