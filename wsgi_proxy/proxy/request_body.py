"""The request's body on its way to an upstream.

Rules:
- With `proxy_request_buffering on` (nginx's default) the whole body is taken before any upstream is held: in memory up to
  `client_body_buffer_size`, beyond that in an unnamed temporary file. It can then be sent again to the next server, and goes out
  with a Content-Length even if it came in chunks.
- With `off` it is streamed as it comes, framed as it came; once a byte was read it cannot be sent again.
- A body belongs to its exchange: it is read once, and every upstream that the request comes to by redirects within is sent the
  same. What was streamed can be sent again as long as all of it that was read fits `client_body_buffer_size`; beyond that the
  next upstream cannot have it, and the request fails (nginx sends it the rest, under the length of the whole).
- Memory is bounded whatever the body's size.
"""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING, Any

from ..errors import ClientError, ClientGone, ProxyError
from . import tempfiles

if TYPE_CHECKING:
    from ..config import CoreSettings, ProxySettings
    from ..exchange import Exchange

BLOCK = 64 * 1024


class Upload:
    """A body to send: `read(n)` gives at most n bytes and b"" at its end; `length` is None for a chunked one.

    It is in memory (`data`), in a `file`, or comes from a `source`; of that at most `room` bytes are remembered.
    """

    __slots__ = ("_borrowed", "_file", "_kept", "_replay", "_room", "_source", "data", "length", "started")

    def __init__(
        self, length: int | None, *, data: bytes | None = None, file: IO[bytes] | None = None, source: Any = None, room: int = 0
    ) -> None:
        self.length = length
        self.data = data
        self._file = file
        self._source: Any = source
        self._room = room
        self._kept: list[bytes] = []
        """What was read of the source; complete while `_room` is not negative."""
        self._replay: list[bytes] = []
        """What is read before the source: bytes that an upload before this one read."""
        self._borrowed = False
        self.started = False

    @property
    def whole(self) -> bool:
        """Whether all of it was taken from the client."""
        return self.data is not None or self._file is not None

    def again(self) -> Upload:
        """The same body for another upstream; ProxyError when it cannot be had again. The file stays this one's."""
        source = None if self.whole else self._source
        other = Upload(self.length, data=self.data, file=self._file, source=source, room=self._room)
        if not self.whole:
            if self._room < 0:
                message = "the request body was streamed to an upstream (proxy_request_buffering off) and cannot be sent again"
                raise ProxyError(message, status=502)
            other._room += sum(map(len, self._kept))
            other._replay = self._replay + self._kept[::-1]
        other._borrowed = True
        return other

    @property
    def trailers(self) -> list[tuple[str, str]]:
        """Trailer fields of a streamed chunked body, known at its end."""
        return list(getattr(self._source, "trailers", None) or ())

    def rewind(self) -> bool:
        """Make ready for another try; False when what was read is gone."""
        if self.data is not None:
            self._source = io.BytesIO(self.data)
        elif self._file is not None:
            self._file.seek(0)
            self._source = self._file
        elif self.started:
            return False
        return True

    def read(self, size: int = BLOCK) -> bytes:
        self.started = True
        if self._source is None:
            self.rewind()
        if self._replay:
            block = self._replay.pop()
            if 0 <= size < len(block):
                self._replay.append(block[size:])
                block = block[:size]
        else:
            block = self._read(size)
        if not self.whole and self._room >= 0:
            self._room -= len(block)
            if self._room < 0:
                self._kept = []
            elif block:
                self._kept.append(block)
        return block

    def _read(self, size: int) -> bytes:
        # What has come goes on at once: `read` of a socket's file waits for all of `size`.
        read = getattr(self._source, "read1", None) or self._source.read
        block: bytes = read(size)
        return block

    @property
    def interruptible(self) -> bool:
        """Whether `wait` can end a wait for the client; other servers' bodies can only be read."""
        return self.data is not None or self._file is not None or getattr(self._source, "interruptible", False)

    def wait(self, other: int) -> bool:
        """Wait until `read` has something to give: True; or the descriptor `other` can be read: False."""
        if self._replay:
            return True
        wait = getattr(self._source, "wait", None)
        return wait is None or bool(wait(other))

    def fileno(self) -> int:
        """The temporary file's descriptor, for sendfile; OSError when the body is not in a file."""
        if self._file is None:
            raise OSError("not a file")
        return self._file.fileno()

    def close(self) -> None:
        """Drop the temporary file, unless it is another's."""
        if self._file is not None and not self._borrowed:
            self._file.close()


def take(exchange: Exchange, settings: ProxySettings, core: CoreSettings) -> Upload | None:
    """The body that an upstream shall get for this request, None when it gets none.

    Raises ClientError when the client breaks its framing, ClientGone when it leaves before the body is whole, ProxyError when
    there is no room for it.
    """
    if settings.set_body is not None:
        if settings.request_buffering and (exchange.chunked or exchange.content_length):
            # The text may show the client's own body ($request_body).
            collect(exchange, core)
        data = settings.set_body(exchange).encode("latin-1")
        return Upload(len(data), data=data)
    if not settings.pass_request_body or not (exchange.chunked or exchange.content_length is not None):
        return None
    if exchange.content_length == 0:
        return Upload(0, data=b"")
    # HTTP/1.0 has no chunks: a body of unknown length must be whole before it can go out (RFC 9112, 6.1).
    held: Upload | None = exchange.upload
    streamed = not settings.request_buffering and (exchange.content_length is not None or settings.http_version != "1.0")
    if streamed and (held is None or not held.whole):
        if held is None:
            # What is known to be wrong already is refused before a server is troubled with it.
            check = getattr(exchange.input, "check", None)
            if check is not None:
                check()
        room = core.client_body_buffer_size
        exchange.upload = upload = (
            Upload(exchange.content_length, source=exchange.input, room=room) if held is None else held.again()
        )
        return upload
    return collect(exchange, core)


def collect(exchange: Exchange, core: CoreSettings) -> Upload:
    """Take the whole body, once in an exchange, which keeps it until its end; the errors are those of `take`.

    After an error the request has no body left: the page that answers for it gets none (as in nginx).
    """
    held: Upload | None = exchange.upload
    if held is None or not held.whole:
        source = exchange.input if held is None else held.again()
        try:
            held = exchange.upload = _spool(exchange, core, source)
        except ProxyError:
            exchange.drop_body()
            raise
        if exchange.leases is None:
            exchange.leases = []
        exchange.leases.append(held)
    return held.again()


def _spool(exchange: Exchange, core: CoreSettings, source: Any) -> Upload:
    """Take the whole body, to memory or to a file."""
    limit = core.client_body_buffer_size
    blocks: list[bytes] = []
    size = 0
    file: IO[bytes] | None = None
    expected = exchange.content_length
    try:
        while expected is None or size < expected:
            block = source.read(BLOCK if expected is None else min(BLOCK, expected - size))
            if not block:
                break
            size += len(block)
            if file is None and size <= limit:
                blocks.append(block)
                continue
            if file is None:
                file = tempfiles.open_file(core.client_body_temp_path, exchange)
                tempfiles.write(file, b"".join(blocks), core.client_body_temp_path, exchange)
                blocks = []
            tempfiles.write(file, block, core.client_body_temp_path, exchange)
        if expected is not None and size < expected:
            raise ClientGone("client prematurely closed connection while sending its request body")
    except BaseException as error:
        if file is not None:
            file.close()
        if isinstance(error, OSError):
            raise ClientError(f"reading the request body failed: {error}", status=400) from error
        raise
    exchange.body_bytes_received = size
    if file is None:
        data = exchange.request_body = b"".join(blocks)
        return Upload(size, data=data)
    file.seek(0)
    return Upload(size, file=file)
