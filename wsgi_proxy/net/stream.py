"""A connected byte stream with timeouts, with one interface for threads and greenlets.

Rules:
- `Stream.of(sock)` takes over a connected socket. Nothing else may read, write or close it afterwards.
- `read_timeout` and `write_timeout` are seconds without progress (None: no limit) and may be changed at any time. A longer wait
  raises TimeoutError. Every other fault is the OSError of the system call; a TLS fault is `ssl.SSLError`, also an OSError.
- One reader and one writer at a time. `close()` by another thread or greenlet wakes both with ConnectionAbortedError.
- The class is chosen when the stream is made: `plain_stream.PlainStream`, a socket with timeouts for any thread, or, if gevent
  has patched the `socket` module, `gevent_stream.GreenStream`, a non-blocking socket on the hub's loop. TLS is a layer over
  either (`tls_stream.TLSStream`).
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from .addresses import local_address
from .sockets import reset_on_close

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from .tls_stream import TLSStream

Address = tuple[str, int] | str
"""(host, port), or the path of a unix socket."""

FILE_BLOCK: Final = 256 * 1024
"""Bytes of a file or of a large send that are in memory at a time."""


class Stream:
    """A connected stream socket; see the module's rules. Instances are of one of the subclasses."""

    __slots__ = ("plain", "read_timeout", "write_timeout")

    read_timeout: float | None
    write_timeout: float | None
    plain: bool
    """True if the bytes of `fileno()` are those of the stream; False under TLS, where the descriptor must not be bypassed to."""

    def __init__(self, sock: Any) -> None:
        self.plain = True
        self.read_timeout = None
        self.write_timeout = None

    @staticmethod
    def of(sock: Any) -> Stream:
        """Return a stream over a connected socket, of the class that fits this process."""
        return _stream_class(sock)(sock)

    @classmethod
    def connect(cls, address: Address, timeout: float | None = None, source: str | None = None) -> Stream:
        """Return a stream to an address, connected within `timeout` seconds.

        Raises the OSError of the last address tried, or TimeoutError. The system's resolver resolves names. `source` is the
        local address to connect from, with or without a port. TCP streams send small writes at once (TCP_NODELAY).
        """
        made = _stream_class(None) if cls is Stream else cls
        fault: OSError | None = None
        for family, where in _resolve(address):
            try:
                return made._connect(family, where, timeout, source)
            except OSError as error:
                fault = error
        try:
            raise fault or OSError(f"{address!r} has no address")
        finally:
            # The traceback refers to this frame; without the name there is no cycle.
            fault = None

    @classmethod
    def _connect(cls, family: int, where: Any, timeout: float | None, source: str | None) -> Stream:
        raise NotImplementedError

    def recv(self, size: int) -> bytes:
        """Return at least one byte and at most `size`; b"" if the peer has ended its half."""
        raise NotImplementedError

    def recv_into(self, buffer: Buffer) -> int:
        """Receive into a writable buffer as `recv` does, and return the number of bytes."""
        raise NotImplementedError

    def recv_nowait(self, size: int) -> bytes | None:
        """Return as `recv` does, but None if nothing has arrived."""
        raise NotImplementedError

    def recv_rest(self) -> bytes:
        """Return the bytes that were received but not read, without a system call; b"" without TLS."""
        return b""

    def sendall(self, data: Buffer) -> None:
        """Send every byte."""
        raise NotImplementedError

    def send_nowait(self, data: Buffer) -> int:
        """Send as many bytes as possible without waiting, and return their number. `flush_nowait` sends the remainder of them."""
        raise NotImplementedError

    def flush_nowait(self) -> bool:
        """Send the bytes that `send_nowait` took and the kernel did not; return True if none are left."""
        return True

    def sendmsg(self, buffers: Sequence[Buffer]) -> None:
        """Send every byte of every buffer, in one system call if the kernel takes them all."""
        raise NotImplementedError

    def sendfile(self, file: int, offset: int, count: int) -> None:
        """Send `count` bytes of an open file descriptor from `offset` on. Raises EOFError if the file is shorter."""
        while count:
            block = os.pread(file, min(count, FILE_BLOCK), offset)
            if not block:
                raise EOFError(f"the file ended {count} bytes early")
            self.sendall(block)
            offset += len(block)
            count -= len(block)

    def readable(self) -> bool:
        """Return True if data or the peer's end can be read now."""
        raise NotImplementedError

    def held(self) -> bool:
        """Return True if TLS holds received bytes or the end, which do not make the socket readable. Needs no system call."""
        return False

    def stirred(self) -> bool:
        """Return `readable()`, but trust an event loop that watches the idle stream, without a system call.

        Bytes that arrived since the loop's last round may be missed. It serves the pool of idle connections.
        """
        return self.readable()

    def peer_closed(self) -> bool:
        """Return True if the peer has ended its half or reset the connection, and no unread bytes precede that."""
        raise NotImplementedError

    def breathe(self) -> None:
        """Let other greenlets run if this stream has been read for long without a wait.

        `recv` calls it; callers of the other read methods must. It must precede the read: bytes already read from the kernel
        would be invisible to other users of the stream that run meanwhile.
        """

    def wait_readable(self) -> None:
        """Wait until `recv` may return at once."""
        raise NotImplementedError

    def wait_while(self, step: Callable[[], bool]) -> None:
        """Wait, and call `step` whenever bytes have arrived, until it returns False; the wait may also end earlier.

        On gevent's loop `step` runs in the hub, without a switch of greenlets, and must not wait. TLS must hold no bytes
        (`held`), or the call returns at once. Raises TimeoutError after `read_timeout` seconds, whether `step` was called or not.
        """
        self.wait_readable()
        while step():
            self.wait_readable()

    def wait_writable(self) -> None:
        """Wait until the kernel takes bytes again."""
        raise NotImplementedError

    def fileno(self) -> int:
        """Return the file descriptor; -1 if closed."""
        raise NotImplementedError

    def getsockname(self) -> Any:
        """Return the local address as `socket.getsockname` does."""
        raise NotImplementedError

    def shutdown(self, how: int) -> None:
        """End one half as `socket.shutdown` does; a connection that is already gone is not an error."""
        raise NotImplementedError

    def break_off(self) -> None:
        """Make `close` reset the connection, so that a truncated body does not look complete."""
        if self.fileno() >= 0:
            reset_on_close(self.fileno())

    def close(self) -> None:
        """Close the stream. A waiting reader or writer gets ConnectionAbortedError. May be called again."""
        raise NotImplementedError

    def detach(self) -> int:
        """Return the file descriptor and give it up: the stream is closed, the connection is not."""
        raise NotImplementedError

    def start_tls(self, context: ssl.SSLContext, server_hostname: str | None = None, server_side: bool = False) -> TLSStream:
        """Return a TLS stream after a handshake within the timeouts. It owns this stream, which must not be used any more."""
        # A circular import: TLSStream is a subclass.
        from .tls_stream import TLSStream

        layer = TLSStream(self, context, server_hostname, server_side)
        layer.handshake()
        return layer


def unsent(buffers: Iterable[Buffer], sent: int) -> list[Buffer]:
    """Return the rest of `buffers` without their first `sent` bytes."""
    rest: list[Buffer] = []
    for buffer in buffers:
        view = memoryview(buffer).cast("B")
        if sent < len(view):
            rest.append(view[sent:] if sent else buffer)
            sent = 0
        else:
            sent -= len(view)
    return rest


def peek_closed(sock: Any) -> bool:
    """Return True if the next read of this socket would see an end or a reset."""
    try:
        return not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def shut_down(sock: Any, how: int) -> None:
    """Call `socket.shutdown`; a connection that the peer has torn down counts as shut down."""
    try:
        sock.shutdown(how)
    except OSError:
        # ENOTCONN after a reset, EBADF after close: the next read or write reports it.
        return


def prepare(sock: Any, family: int, source: str | None) -> None:
    """Set up a TCP socket before it connects: no delay of small writes, and the local address."""
    if family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            sock.bind(local_address(source) or (source, 0))


def _resolve(address: Address) -> list[tuple[int, Any]]:
    """Return (family, socket address) for each address of the name, without a look-up if the host is an address."""
    if isinstance(address, str):
        return [(socket.AF_UNIX, address)]
    host, port = address
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
            return [(family, (host, port))]
        except OSError:
            continue
    found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    return [(int(family), where) for family, _, _, _, where in found]


def load_kinds() -> None:
    """Import the stream classes of this process, so that the first connection does not wait for it."""
    from . import tls_stream  # noqa: F401

    _stream_class(None)


def _stream_class(sock: Any) -> type[Stream]:
    """Return GreenStream if gevent has patched sockets and the socket does not do TLS itself, else PlainStream."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("socket") or isinstance(sock, ssl.SSLSocket):
        from .plain_stream import PlainStream

        return PlainStream
    # A process without gevent must not load it.
    from .gevent_stream import GreenStream

    return GreenStream
