"""The streams of a connection from their start to their end (RFC 9113, sections 5.1, 6.4 and 6.9): resets and windows.

Rules:
- A stream counts until its greenlet ends, also after a reset by either side. Rapid resets (CVE-2023-44487) and resets that a
  client provokes (CVE-2025-8671) therefore cause no more work than `http2_streams` requests, and cost the client's credit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...clocks import monotonic
from ...errors import ClientGone, ProxyError
from ..counts import NOWHERE, WAITING
from ..link import BUSY, CLOSED, IDLE
from . import frames
from .frames import ConnectionFault
from .output import RESET_COST, SERVED_GAIN, Output

if TYPE_CHECKING:
    from ..link import Link
    from .stream import RequestStream


class OpenStreams(Output):
    """The part of a connection that counts its streams and ends them; the whole is `connection.Http2Connection`."""

    __slots__ = ("_draining", "_final", "last", "running")

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self._draining = self._final = False
        """True once a GOAWAY was sent that still accepts streams, or the last one."""
        self.last = 0
        """The highest stream number of the client."""
        self.running = 0
        """The number of greenlets that serve streams."""

    def _finish(self) -> None:
        """Send the queued frames, then close the sending half."""
        raise NotImplementedError

    def _over(self, number: int, what: str) -> None:
        """Ignore a frame of an ended stream that may have been on its way (RFC 9113, section 5.1), else raise ConnectionFault."""
        if not number & 1 or number > self.last:
            raise ConnectionFault(frames.PROTOCOL_ERROR, f"{what} for a stream that was never opened")
        if number > self._lenient_below and number not in self._lenient:
            raise ConnectionFault(frames.STREAM_CLOSED, f"{what} for a closed stream")

    def _break(self, stream: RequestStream, code: int, fault: ProxyError) -> None:
        """End a stream because of the client's fault."""
        self.service.log.info("%s: %s", self, fault)
        self.streams.pop(stream.id, None)
        self.write_reset(stream.id, code)
        stream.leave(fault)
        self.charge(RESET_COST)

    def _rst_stream(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "RST_STREAM of a wrong length")
        if not number & 1 or number > self.last:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "RST_STREAM for a stream that was never opened")
        stream = self.streams.pop(number, None)
        if stream is not None:
            stream.leave(ClientGone("client reset the stream"))
            self.charge(RESET_COST)
        else:
            self.charge(1.0)

    def _window_update(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong length")
        increment = int.from_bytes(payload, "big") & frames.MAX_WINDOW
        self.charge(0.1)
        if not number:
            if not increment:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
            self.widen(increment)
            return
        stream = self.streams.get(number)
        if stream is None:
            if not number & 1 or number > self.last:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "WINDOW_UPDATE for a stream that was never opened")
            return
        if not increment:
            self._break(stream, frames.PROTOCOL_ERROR, ClientGone("client sent WINDOW_UPDATE of nothing"))
        elif stream.window + increment > frames.MAX_WINDOW:
            self._break(stream, frames.FLOW_CONTROL_ERROR, ClientGone("client sent a window above 2^31 - 1"))
        else:
            stream.window += increment
            stream.opened()

    def forget_stream(self, stream: RequestStream, whole: bool) -> None:
        """Note the end of a stream's greenlet."""
        self.streams.pop(stream.id, None)
        self.running -= 1
        stream.count_as(NOWHERE)
        if self.state == CLOSED:
            return
        if stream.held:
            self.consumed(stream.held)
        if whole:
            self.gain(SERVED_GAIN)
        if not self.running and self.state == BUSY:
            self.state = IDLE
            self.count_as(WAITING)
            if self._final:
                self._finish()
            elif not self._draining:
                self.deadline = monotonic() + self.settings.keepalive_timeout
