"""The request's body on its way to an upstream.

Rules:
- With `proxy_request_buffering on` (nginx's default) the whole body is read before a server is leased: into memory up to
  `client_body_buffer_size`, beyond that into an unnamed temporary file, or always into a named one
  (`client_body_in_file_only`). It can then be sent again to the next server, and has a
  Content-Length even if the client sent chunks.
- With `off` the body is streamed with the client's framing. Once a byte was read it cannot be sent again to the next server.
- A body belongs to its exchange: it is read once, and sent to every upstream that internal redirects lead to. A streamed body can
  be sent again while the bytes read fit `client_body_buffer_size`; beyond that the request fails (nginx sends the rest, under the
  length of the whole).
- Memory is bounded whatever the body's size.
"""

from __future__ import annotations

import io
import os
from typing import IO, TYPE_CHECKING, Any, Final

from ..errors import ClientError, ClientGone, ProxyError
from . import tempfiles

if TYPE_CHECKING:
    from ..config import CoreSettings, ProxySettings
    from ..exchange import Exchange

BLOCK: Final = 64 * 1024


class Upload:
    """A body to send: `read(n)` returns at most n bytes, b"" at its end; `length` is None for a chunked body.

    It is in memory (`data`), in a `file`, or read from a `source`, of which at most `room` bytes are remembered.
    """

    __slots__ = ("_borrowed", "_ended", "_file", "_kept", "_replay", "_room", "_source", "_taken", "data", "length", "started")

    def __init__(
        self, length: int | None, *, data: bytes | None = None, file: IO[bytes] | None = None, source: Any = None, room: int = 0
    ) -> None:
        self.length = length
        self.data = data
        self._file = file
        self._source: Any = source
        self._room = room
        self._kept: list[bytes] = []
        """The bytes read from the source; complete while `_room` is not negative."""
        self._replay: list[bytes] = []
        """The bytes that an earlier upload read from the source; returned first, last block at the start."""
        self._borrowed = False
        self._taken = 0
        self._ended = False
        """The streamed body was read to its end."""
        self.started = False

    @property
    def whole(self) -> bool:
        """True if the whole body was read from the client."""
        return self.data is not None or self._file is not None

    @property
    def ended(self) -> bool:
        """True if the body was read to its end."""
        return self.whole or self._ended

    @property
    def remembered(self) -> bytes | None:
        """The streamed body, once it was read to its end, if it fits `client_body_buffer_size`; else None."""
        return b"".join(self._kept) if self._ended and self._room >= 0 and not self.whole else None

    def again(self) -> Upload:
        """Return the same body for another upstream; this one still owns the file. Raises ProxyError if the bytes are gone."""
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
        """The trailer fields of a streamed chunked body, known at its end."""
        return list(getattr(self._source, "trailers", None) or ())

    def rewind(self) -> bool:
        """Start again for another attempt; return False if bytes already read are gone."""
        if self.data is not None:
            self._source = io.BytesIO(self.data)
        elif self._file is not None:
            self._file.seek(0)
            self._source = self._file
        elif self.started:
            return False
        return True

    def read(self, size: int = BLOCK) -> bytes:
        """Return at most `size` bytes, b"" at the end."""
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
        self._taken += len(block)
        self._ended = not block or (self.exhausted if self.length is None else self._taken == self.length)
        return block

    def give_back(self, block: bytes) -> None:
        """Undo the first `read`, which returned `block`, of which nothing was sent."""
        if self.whole:
            return
        self.started = self._ended = False
        self._taken = 0
        self._room += len(block)
        self._kept = []
        self._replay.append(block)

    def _read(self, size: int) -> bytes:
        # `read1` returns the bytes that have arrived; `read` of a socket's file waits for all of `size`.
        read = getattr(self._source, "read1", None) or self._source.read
        block: bytes = read(size)
        return block

    @property
    def interruptible(self) -> bool:
        """True if `wait` can be ended by the upstream; the bodies of other servers can only be read."""
        return self.data is not None or self._file is not None or getattr(self._source, "interruptible", False)

    def wait(self, other: int) -> bool:
        """Wait until `read` has bytes and return True, or until the file descriptor `other` is readable and return False."""
        if self._replay:
            return True
        wait = getattr(self._source, "wait", None)
        return wait is None or bool(wait(other))

    @property
    def exhausted(self) -> bool:
        """True if every further `read` returns b"" at once; False if that is unknown."""
        return not self._replay and bool(getattr(self._source, "exhausted", False))

    @property
    def arrived(self) -> bool:
        """True if the next `read` returns bytes of a streamed body at once; False if that is unknown."""
        return bool(self._replay) or bool(getattr(self._source, "arrived", False))

    def check(self) -> None:
        """Raise the fault of a streamed body that was found since the last `read`."""
        check = getattr(self._source, "check", None)
        if check is not None:
            check()

    def fileno(self) -> int:
        """Return the temporary file's descriptor for sendfile. Raises OSError if the body is not in a file."""
        if self._file is None:
            raise OSError("not a file")
        return self._file.fileno()

    def close(self) -> None:
        """Close the temporary file, unless another upload owns it."""
        if self._file is not None and not self._borrowed:
            self._file.close()


def take(exchange: Exchange, settings: ProxySettings, core: CoreSettings) -> Upload | None:
    """Return the body for the upstream, None if it gets none.

    Raises ClientError if the client breaks the framing, ClientGone if it leaves before the end of the body, and ProxyError if the
    disk is full.
    """
    if settings.set_body is not None:
        if settings.request_buffering and (exchange.chunked or exchange.content_length):
            # The text may contain the client's body ($request_body).
            collect(exchange, core)
        data = settings.set_body(exchange).encode("latin-1")
        return Upload(len(data), data=data)
    if not settings.pass_request_body and core.client_body_in_file_only != "off" and exchange.has_body:
        # The upstream may read the file, whose name is in `$request_body_file`.
        collect(exchange, core)
    if not settings.pass_request_body or not (exchange.chunked or exchange.content_length is not None):
        return None
    if exchange.content_length == 0:
        return Upload(0, data=b"")
    held: Upload | None = exchange.upload
    streamed = not settings.request_buffering and (exchange.content_length is not None or _takes_unknown_length(settings))
    if streamed and (held is None or not held.whole):
        if held is None:
            # Faults that are already known are refused before a server is leased.
            check = getattr(exchange.input, "check", None)
            if check is not None:
                check()
        room = core.client_body_buffer_size
        exchange.upload = upload = (
            Upload(exchange.content_length, source=exchange.input, room=room) if held is None else held.again()
        )
        return upload
    return collect(exchange, core)


def _takes_unknown_length(settings: ProxySettings) -> bool:
    """Return False if a body must be read to its end first, because its length is sent before it.

    HTTP/1.0 has no chunks (RFC 9112, section 6.1), and uwsgi and SCGI have nothing like them. FastCGI has records.
    """
    return settings.http_version != "1.0" if settings.gateway is None else settings.gateway.protocol == "fastcgi"


def collect(exchange: Exchange, core: CoreSettings) -> Upload:
    """Read the whole body, once per exchange, which keeps it until its end. Raises the errors of `take`.

    After an error the request has no body left, so its error page gets none (as in nginx).
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
    """Read the whole body into memory or into a file."""
    limit = core.client_body_buffer_size
    if exchange.content_length is not None and exchange.content_length < limit + limit // 4:
        # nginx's buffer is up to a quarter larger, for a body that fits it (ngx_http_read_client_request_body).
        limit = exchange.content_length
    blocks: list[bytes] = []
    size = 0
    file: IO[bytes] | None = None
    expected = exchange.content_length
    if core.client_body_in_file_only != "off":
        file = tempfiles.named_file(core.client_body_temp_path, core.client_body_in_file_only == "on", exchange)
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
                exchange.request_body_file = f"/proc/{os.getpid()}/fd/{file.fileno()}"
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
