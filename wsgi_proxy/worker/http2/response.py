"""One response on its stream: `response.ResponseWriter` for the application, with the framing of HTTP/2.

Rules:
- A response without a body ends with its HEADERS frame, one with a known length with its last DATA frame.
- Fields of a connection are HTTP/1.1's and left out (RFC 9113, section 8.2.2); names are in lower case.
- A head and the first block are sent together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...clocks import wall_time
from ..response import NAMES, ResponseWriter, ShortBody, check_value, clock, http_date, learn_name
from .frames import header_frames
from .hpack import encode_field, encode_status

if TYPE_CHECKING:
    from ...http import Pairs
    from ..request import Request
    from .stream import RequestStream

_CONNECTION: Final = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "http2-settings"})


class StreamResponse(ResponseWriter):
    """The writer of one response. `ended` is True once END_STREAM was queued."""

    __slots__ = ("_block", "ended", "stream")

    def __init__(self, stream: RequestStream, head: Request) -> None:
        super().__init__(stream, head, True)
        self.stream = stream
        self.ended = False
        self._block: list[bytes] = []
        """The fields, encoded."""

    def fresh(self) -> StreamResponse:
        return StreamResponse(self.stream, self.head)

    def _fields(self, headers: Any) -> None:
        code = self.code
        if code == 101:
            raise ValueError("HTTP/2 has no 101")
        names = NAMES
        length: int | None = None
        dated = served = False
        block = [encode_status(str(code))]
        for name, value in headers:
            meaning = names.get(name)
            if meaning is None:
                meaning = learn_name(name)
            if meaning:
                if meaning == "content-length":
                    length = self._length(value, length)
                    continue
                if meaning == "date":
                    dated = True
                elif meaning == "server":
                    served = True
                else:
                    continue
            if not value.isprintable():
                check_value(name, value)
            if name.lower() not in _CONNECTION:
                block.append(encode_field(name, value.strip(" \t")))
        if not served:
            block.append(encode_field("server", clock.server))
        if not dated:
            now = int(wall_time())
            block.append(encode_field("date", clock.date if now == clock.second else http_date()))
        self.switches = self.chunked = False
        self.bare = code == 204 or code == 304 or self.method == "HEAD"
        if code == 204:
            length = None
        elif length is not None:
            block.append(encode_field("content-length", str(length)))
        self.left = length
        self._block = block

    def early_hints(self, headers: Any) -> None:
        if self.head_sent:
            return
        block = [encode_status("103")]
        for name, value in headers:
            learn_name(name)
            check_value(name, value)
            if name.lower() not in _CONNECTION:
                block.append(encode_field(name, value))
        self.stream.send_fields(b"".join(block), False)

    def _finish_head(self, whole: int | None = None) -> bytes:
        if not self.status:
            raise AssertionError("the application did not call start_response")
        block, self._block = self._block, []
        if self.left is None and not self.bare and whole is not None:
            self.left = whole
            block.append(encode_field("content-length", str(whole)))
        self.head_sent = True
        self.ended = self.bare or (self.left == 0 and self.stream.trailers is None)
        connection = self.stream.connection
        fields = connection.table_update() + b"".join(block)
        head = header_frames(self.stream.id, fields, self.ended, connection.frame_size)
        self.stream.head_out += len(head)
        return head

    def _put(self, head: bytes, block: Any, size: int) -> None:
        last = self.left == 0 and self.stream.trailers is None
        self.stream.send_data(head, block, last)
        if last:
            self.ended = True

    def _moves_itself(self, result: Any) -> Any:
        # No byte may bypass the frames.
        return None

    def finish(self) -> None:
        stream = self.stream
        if not self.head_sent:
            stream.send(self._finish_head(0))
        if self.ended:
            return
        if self.left:
            raise ShortBody(f"the body ended {self.left} bytes before its Content-Length")
        trailers = stream.trailers
        pairs: Pairs = [] if trailers is None else trailers() if callable(trailers) else trailers
        if pairs:
            stream.send_fields(b"".join([encode_field(name, value) for name, value in pairs]), True)
        else:
            stream.send_data(b"", b"", True)
        self.ended = True
