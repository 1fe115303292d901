"""The frames of requests (RFC 9113, sections 6.1, 6.2, 6.10 and 8): their heads, bodies and trailers.

Rules:
- A frame that breaks the protocol ends the connection with GOAWAY. A request that does so ends its stream. The code names the
  section of each decision.
- The size of a field block is bounded while it arrives (CVE-2024-27316) and when it is expanded.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from ...clocks import monotonic, wall_time
from ...errors import ClientError, ClientGone
from ...http import Pairs
from ..counts import NOWHERE, WRITING
from ..link import BUSY, HEAD, IDLE
from ..request import Request
from . import frames
from .body import StreamBody
from .fields import read_request, read_trailers
from .frames import ConnectionFault, StreamFault
from .hpack import DecodeError, Decoder
from .open_streams import OpenStreams
from .output import RESET_COST
from .stream import RequestStream

if TYPE_CHECKING:
    from ..link import Link

LIST_LIMIT: Final = 128 * 1024
"""The largest expanded size of a field block in bytes. The limits of a request are smaller."""
_BLOCK_LIMIT: Final = 64 * 1024
_CONTINUATION_COST: Final = 10.0


class StreamFrames(OpenStreams):
    """The part of a connection that handles the frames of streams; the whole is `connection.Http2Connection`."""

    __slots__ = ("_block", "_block_ended", "_block_size", "_block_stream", "_decoder", "_dense", "_head_stream")

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self._decoder = Decoder(LIST_LIMIT)
        self._block: list[bytes] = []
        self._block_stream = 0
        """The stream of an incomplete field block, else 0."""
        self._block_size = 0
        self._block_ended = False
        self._head_stream = 0
        """The stream whose head is limited by `client_header_timeout`, in the state HEAD."""
        self._dense = -1
        """The highest stream number below which the client left out none."""

    def _say_last(self) -> None:
        """Accept no more streams, and end the connection when the open ones have ended."""
        raise NotImplementedError

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
            # RFC 9113, section 8.1.1: malformed. The application gets the fault, and its response precedes the reset.
            stream.malformed = True
            body.fail(ClientError("client sent a body that differs from its content-length"))
            self.charge(RESET_COST)

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
        self._await_head(number)

    def _await_head(self, number: int) -> None:
        """Limit the time in which the rest of a request's head must arrive. Other requests of the connection lift the limit."""
        if not self.running and not self._final and self.state != HEAD:
            self.state = HEAD
            self._head_stream = number
            self.deadline = monotonic() + (self.settings.client_header_timeout or inf)

    def _give_up_head(self) -> None:
        """Reset a stream whose head did not arrive in time, and keep the connection for others."""
        number = self._head_stream
        self.service.log.info("%s: client timed out while sending a field block", self)
        self.last = max(self.last, number)
        self.write_reset(number, frames.PROTOCOL_ERROR)
        self.state = IDLE
        self.deadline = monotonic() + self.settings.keepalive_timeout
        if self._draining:
            self._say_last()

    def _continuation(self, flags: int, payload: bytes) -> None:
        number = self._block_stream
        if not number:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "CONTINUATION of nothing")
        # CVE-2024-27316: their number and their sum are bounded.
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
        """Handle a complete field block: a request or its trailers."""
        try:
            fields = self._decoder.decode(block)
        except DecodeError as error:
            code = frames.ENHANCE_YOUR_CALM if error.too_large else frames.COMPRESSION_ERROR
            self.last = max(self.last, number)
            raise ConnectionFault(code, f"field block: {error}") from error
        stream = self.streams.get(number)
        if stream is not None:
            self._trailers(stream, fields, ended)
        elif number <= self.last:
            if number > self._dense and number not in self._lenient:
                # RFC 9113, section 5.1.1.
                raise ConnectionFault(frames.PROTOCOL_ERROR, "HEADERS of a stream below the last one")
            self._over(number, "HEADERS")
        else:
            if number == self._dense + 2:
                self._dense = number
            self.last = number
            if self._final:
                # By GOAWAY the client knows that it is not processed.
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
        malformed = False
        try:
            head = read_request(fields, ended, self.listener.settings)
        except (StreamFault, ClientError) as error:
            if isinstance(error, ClientError):
                refused = error
            else:
                refused, malformed = ClientError(str(error)), True
                self.charge(RESET_COST)
            found = dict(fields)
            head = Request.refused(found.get(":method", ""), found.get(":authority") or found.get("host", ""))
        self.requests += 1
        stream = RequestStream(self, number, head, ended)
        stream.refused = refused
        stream.malformed = malformed
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
            if self.requests >= settings.keepalive_requests or wall_time() - self.started > settings.keepalive_time:
                self._say_last()
        self.service.crew.run(stream.serve)
