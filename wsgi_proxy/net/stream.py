"""One connected byte stream with timeouts, the same to its users in a thread and in a greenlet.

Rules:
- `Stream.of(sock)` takes a connected socket over and is the only one to read, write and close it from then on.
- `read_timeout` and `write_timeout` are seconds without progress (None: no limit) and may be changed at any time; a wait
  that takes longer raises TimeoutError. Every other fault is the OSError of the system call (TLS faults are `ssl.SSLError`,
  an OSError too).
- One reader and one writer at a time. `close()` from elsewhere wakes both with ConnectionAbortedError.
- Two modes, chosen when the stream is made: a socket with timeouts (here, any thread), or, where gevent has patched the
  `socket` module, a non-blocking socket on the hub's loop (`green.GreenStream`). TLS is a layer over either
  (`stream_tls.TLSStream`).
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .sockets import reset_on_close

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from .tls_stream import TLSStream

Address = tuple[str, int] | str
"""(host, port), or the path of a unix socket."""

FILE_BLOCK = 256 * 1024
"""Bytes of a file or of a large send that are in memory at a time."""


class Stream:
    """A connected stream socket; see the module's rules. Instances are of one of the subclasses."""

    __slots__ = ("plain", "read_timeout", "write_timeout")

    read_timeout: float | None
    write_timeout: float | None
    plain: bool
    """Whether the bytes of `fileno()` are the bytes of the stream: False under TLS, where nothing may go around it."""

    def __init__(self, sock: Any) -> None:
        self.plain = True
        self.read_timeout = None
        self.write_timeout = None

    @staticmethod
    def of(sock: Any) -> Stream:
        """The stream of a connected socket, of the kind that fits this process."""
        return _stream_class(sock)(sock)

    @classmethod
    def connect(cls, address: Address, timeout: float | None = None, source: str | None = None) -> Stream:
        """Connect within `timeout` seconds; OSError of the last address tried when none accepts, TimeoutError in time.

        A name is resolved by the system's resolver. `source` is the local address to connect from. TCP streams send
        small writes at once (TCP_NODELAY).
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
            # Its traceback holds this frame: with the name gone there is no cycle.
            fault = None

    @classmethod
    def _connect(cls, family: int, where: Any, timeout: float | None, source: str | None) -> Stream:
        raise NotImplementedError

    def recv(self, size: int) -> bytes:
        """At least one byte and at most `size`; b"" when the peer has ended its half."""
        raise NotImplementedError

    def recv_into(self, buffer: Buffer) -> int:
        """As `recv`, into a writable buffer; the number of bytes."""
        raise NotImplementedError

    def recv_nowait(self, size: int) -> bytes | None:
        """As `recv`, but None when nothing waits."""
        raise NotImplementedError

    def recv_rest(self) -> bytes:
        """The bytes that were received and are not yet read, without a look at the socket: b"" where TLS is not between."""
        return b""

    def sendall(self, data: Buffer) -> None:
        """Send every byte."""
        raise NotImplementedError

    def send_nowait(self, data: Buffer) -> int:
        """Take as many bytes as can be sent without waiting; the number of bytes. `flush_nowait` sends what is left of them."""
        raise NotImplementedError

    def flush_nowait(self) -> bool:
        """Send what `send_nowait` took and the kernel did not; True when nothing is left."""
        return True

    def sendmsg(self, buffers: Sequence[Buffer]) -> None:
        """Send every byte of every buffer, in one system call where the kernel takes them all."""
        raise NotImplementedError

    def sendfile(self, file: int, offset: int, count: int) -> None:
        """Send `count` bytes of the open file descriptor from `offset` on; EOFError when the file ends before."""
        while count:
            block = os.pread(file, min(count, FILE_BLOCK), offset)
            if not block:
                raise EOFError(f"the file ended {count} bytes early")
            self.sendall(block)
            offset += len(block)
            count -= len(block)

    def readable(self) -> bool:
        """Whether data or the peer's end waits now."""
        raise NotImplementedError

    def stirred(self) -> bool:
        """As `readable`, but a loop that watches the idle stream is believed without a system call.

        It may miss what came since the loop's last round: for the pool that asks whether an idle connection is still good.
        """
        return self.readable()

    def peer_closed(self) -> bool:
        """Whether the peer has ended its half (or reset the connection) and nothing unread is left before that."""
        raise NotImplementedError

    def breathe(self) -> None:
        """Let others run where this stream has been read for long without a wait.

        `recv` does it; other ways to read must. It comes before a read, never behind it: other code that looks at the stream
        meanwhile would not see the bytes that are out of the kernel and not yet with their reader.
        """

    def wait_readable(self) -> None:
        """Wait until `recv` may give something at once."""
        raise NotImplementedError

    def wait_writable(self) -> None:
        """Wait until the kernel takes bytes again."""
        raise NotImplementedError

    def fileno(self) -> int:
        """The descriptor; -1 when closed."""
        raise NotImplementedError

    def getsockname(self) -> Any:
        """The local address, as `socket.getsockname` gives it."""
        raise NotImplementedError

    def shutdown(self, how: int) -> None:
        """End a half, as `socket.shutdown`; a connection that is already gone is no fault."""
        raise NotImplementedError

    def break_off(self) -> None:
        """See to it that `close` resets the connection, so that what was sent does not look complete."""
        if self.fileno() >= 0:
            reset_on_close(self.fileno())

    def close(self) -> None:
        """Close; a waiting reader or writer gets ConnectionAbortedError. May be called again."""
        raise NotImplementedError

    def detach(self) -> int:
        """Give the descriptor away: the stream is closed, the connection is not."""
        raise NotImplementedError

    def start_tls(self, context: ssl.SSLContext, server_hostname: str | None = None, server_side: bool = False) -> TLSStream:
        """Do the TLS handshake within the stream's timeouts; the result owns this stream, which is not used any more."""
        # Only now: it is made of this class.
        from .tls_stream import TLSStream

        layer = TLSStream(self, context, server_hostname, server_side)
        layer.handshake()
        return layer


def unsent(buffers: Iterable[Buffer], sent: int) -> list[Buffer]:
    """What is left of `buffers` when their first `sent` bytes are gone."""
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
    """Whether an end or a reset is the next thing a read of this socket would see."""
    try:
        return not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def shut_down(sock: Any, how: int) -> None:
    """`socket.shutdown`, where a connection that the peer has already torn down counts as shut down."""
    try:
        sock.shutdown(how)
    except OSError:
        # ENOTCONN after a reset, EBADF after close: the state asked for, and the next read or write tells.
        return


def prepare(sock: Any, family: int, source: str | None) -> None:
    """What a TCP socket needs before it connects: no delay of small writes, and the local address asked for."""
    if family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            sock.bind((source, 0))


def _resolve(address: Address) -> list[tuple[int, Any]]:
    """(family, socket address) for each address of the name; no look-up where the host is a number."""
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
    """Import the kinds of stream that this process uses, which the first connection would wait for."""
    from . import tls_stream  # noqa: F401

    _stream_class(None)


def _stream_class(sock: Any) -> type[Stream]:
    """Which kind a new stream is: green where gevent has patched sockets, unless the socket does its own TLS."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("socket") or isinstance(sock, ssl.SSLSocket):
        from .plain_stream import PlainStream

        return PlainStream
    # Only now: a process without gevent must not pay for its memory.
    from .gevent_stream import GreenStream

    return GreenStream
