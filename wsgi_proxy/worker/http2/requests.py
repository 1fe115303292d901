"""The frames of a connection's streams (RFC 9113, sections 5.1, 6 and 8): requests begin, get their bodies, and are reset.

Rules:
- A frame that breaks the protocol ends the connection with GOAWAY, a request that does so its stream; the sections are named
  where it is decided.
- A stream counts as long as its greenlet works for it, whoever reset it: rapid resets (CVE-2023-44487), and resets that a client
  provokes (CVE-2025-8671), do not get more work done than `http2_streams` requests, and cost the client's patience.
- A field block is bounded while it comes (CVE-2024-27316), and in what it expands to.
"""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING

from ...errors import ClientError, ClientGone, ProxyError
from ...http import Pairs
from ..counts import NOWHERE, WAITING, WRITING
from ..link import BUSY, CLOSED, HEAD, IDLE
from ..request_head import Request
from . import frames
from .body import StreamBody
from .fields import read_request, read_trailers
from .frames import ConnectionFault, StreamFault
from .hpack import DecodeError, Decoder
from .output import RESET_COST, SERVED_GAIN, Output
from .stream import RequestStream

if TYPE_CHECKING:
    from ..link import Link

LIST_LIMIT = 128 * 1024
"""What a field block may expand to; a request's own limits are smaller."""
_BLOCK_LIMIT = 64 * 1024
_CONTINUATION_COST = 10.0


class StreamFrames(Output):
    """See the module's rules; the connection itself is `connection.Http2Connection`."""

    __slots__ = (
        "_block",
        "_block_ended",
        "_block_size",
        "_block_stream",
        "_decoder",
        "_draining",
        "_final",
        "last",
        "running",
    )

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self._decoder = Decoder(LIST_LIMIT)
        self._block: list[bytes] = []
        self._block_stream = 0
        """The stream whose field block has begun and not ended."""
        self._block_size = 0
        self._block_ended = False
        self._draining = self._final = False
        """A GOAWAY has gone out: one that takes streams still, or the last one."""
        self.last = 0
        """The highest stream of the client's."""
        self.running = 0
        """Greenlets at work for streams."""

    def _say_last(self) -> None:
        """Take no more streams, and end when those that are begun have ended."""
        raise NotImplementedError

    def _finish(self) -> None:
        """Send what is queued, and then end our half."""
        raise NotImplementedError

    def _over(self, number: int, what: str) -> None:
        """A frame for a stream that is not open (RFC 9113, section 5.1): ignored where it may have been on its way."""
        if not number & 1 or number > self.last:
            raise ConnectionFault(frames.PROTOCOL_ERROR, f"{what} for a stream that was never opened")
        if number > self._lenient_below and number not in self._lenient:
            raise ConnectionFault(frames.STREAM_CLOSED, f"{what} for a closed stream")

    def _break(self, stream: RequestStream, code: int, fault: ProxyError) -> None:
        """End a stream for a fault of the client's."""
        self.service.log.info("%s: %s", self, fault)
        self.streams.pop(stream.id, None)
        self.write_reset(stream.id, code)
        stream.leave(fault)
        self.charge(RESET_COST)

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        ended = flags & frames.END_STREAM != 0
        self._receivable -= size
        if self._receivable < 0:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "more DATA than the connection's window")
        content = frames.without_padding(flags, payload)
        if not content and not ended:
            self.charge(1.0)
        stream = self.streams.get(number)
        if stream is None:
            self._over(number, "DATA")
            self.consumed(size)
            return
        body = stream.body
        if not isinstance(body, StreamBody) or body.ended:
            self.consumed(size)
            self._break(stream, frames.STREAM_CLOSED, ClientGone("client sent DATA behind the end of its request"))
            return
        stream.receivable -= size
        stream.held += size
        if stream.receivable < 0:
            self._break(stream, frames.FLOW_CONTROL_ERROR, ClientGone("client sent more DATA than its window"))
            return
        if len(content) < size:
            stream.consumed(size - len(content))
        if (content and not body.feed(content)) or (ended and not body.finish([])):
            self._break(stream, frames.PROTOCOL_ERROR, ClientError("client sent a body that differs from its content-length"))

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        if not number & 1:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "HEADERS of a stream that no client may open")
        block = frames.without_padding(flags, payload)
        if flags & frames.WITH_PRIORITY:
            if len(block) < 5:
                raise ConnectionFault(frames.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
            block = block[5:]
        ended = flags & frames.END_STREAM != 0
        if flags & frames.END_HEADERS:
            self._fields(number, block, ended)
            return
        self._block, self._block_size = [block], len(block)
        self._block_stream, self._block_ended = number, ended
        if not self.running:
            self.state = HEAD
            self.deadline = time.monotonic() + (self.settings.client_header_timeout or inf)

    def _continuation(self, flags: int, payload: bytes) -> None:
        number = self._block_stream
        if not number:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "CONTINUATION of nothing")
        # CVE-2024-27316: neither their number nor their sum may grow on.
        self.charge(_CONTINUATION_COST)
        self._block_size += len(payload)
        if self._block_size > _BLOCK_LIMIT:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "a field block that is too large")
        self._block.append(payload)
        if flags & frames.END_HEADERS:
            block, self._block = b"".join(self._block), []
            self._block_stream = 0
            self._fields(number, block, self._block_ended)

    def _fields(self, number: int, block: bytes, ended: bool) -> None:
        """A complete field block: a request, or the trailers of one."""
        try:
            fields = self._decoder.decode(block)
        except DecodeError as error:
            code = frames.ENHANCE_YOUR_CALM if error.too_large else frames.COMPRESSION_ERROR
            raise ConnectionFault(code, f"field block: {error}") from error
        stream = self.streams.get(number)
        if stream is not None:
            self._trailers(stream, fields, ended)
        elif number <= self.last:
            self._over(number, "HEADERS")
        else:
            self.last = number
            if self._final:
                # The client knows from GOAWAY that it is not worked on.
                self.ignore(number)
            elif self.running >= self.listener.settings.http2_streams:
                self.write_reset(number, frames.REFUSED_STREAM)
                self.charge(RESET_COST)
            else:
                self._request(number, fields, ended)

    def _trailers(self, stream: RequestStream, fields: Pairs, ended: bool) -> None:
        body = stream.body
        if not isinstance(body, StreamBody) or body.ended:
            self._break(stream, frames.STREAM_CLOSED, ClientGone("client sent HEADERS behind the end of its request"))
            return
        try:
            if ended and body.finish(read_trailers(fields)):
                return
            fault = "client sent trailers without an end, or before its content-length"
        except StreamFault as error:
            fault = str(error)
        self._break(stream, frames.PROTOCOL_ERROR, ClientError(fault))

    def _request(self, number: int, fields: Pairs, ended: bool) -> None:
        refused: ClientError | None = None
        try:
            head = read_request(fields, ended, self.listener.settings)
        except StreamFault as fault:
            self.service.log.info("%s: %s", self, fault)
            self.write_reset(number, fault.code)
            self.charge(RESET_COST)
            return
        except ClientError as error:
            refused, head = error, Request.refused(dict(fields).get(":method", ""))
        self.requests += 1
        stream = RequestStream(self, number, head, ended)
        stream.refused = refused
        if refused is None and (self.trusted or head.underscored):
            stream.judge(head)
        self.streams[number] = stream
        self.running += 1
        self.state = BUSY
        self.count_as(NOWHERE)
        stream.count_as(WRITING)
        if not self._draining:
            self.deadline = inf
            settings = self.settings
            if self.requests >= settings.keepalive_requests or time.time() - self.started > settings.keepalive_time:
                self._say_last()
        self.service.crew.run(stream.serve)

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
        """A stream's greenlet is done."""
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
                self.deadline = time.monotonic() + self.settings.keepalive_timeout
