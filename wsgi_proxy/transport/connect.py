"""Opening a connection to an upstream, and the messages for failed connections.

Rules:
- After a failure here, no byte of the request was sent, so the next server may be tried.
- Messages are nginx's, for which operators search their logs.
"""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING, Any

from ..errors import ConnectFailed, UpstreamTimeout
from ..net import Stream
from .tls import secure

if TYPE_CHECKING:
    from .route import Route

TIMED_OUT = "upstream timed out (110: Connection timed out)"
CLOSED = "upstream prematurely closed connection"
LEFT = "client prematurely closed connection, so upstream connection is closed too"


def open_stream(route: Route) -> Stream:
    """Open a connection by a route, with the TLS handshake if any. Raise ConnectFailed or UpstreamTimeout."""
    try:
        stream = Stream.connect(route.address, route.connect_timeout, route.source)
    except TimeoutError:
        raise UpstreamTimeout(f"{TIMED_OUT} while connecting to upstream", sent=False) from None
    except OSError as error:
        raise ConnectFailed(f"{describe('connect()', error)} while connecting to upstream") from error
    try:
        if route.socket_keepalive:
            with socket.socket(fileno=os.dup(stream.fileno())) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if route.tls is not None:
            stream = secure(stream, route)
    except TimeoutError:
        stream.close()
        raise UpstreamTimeout(f"{TIMED_OUT} while SSL handshaking to upstream", sent=False) from None
    except OSError as error:
        stream.close()
        raise ConnectFailed(f"{describe('SSL_do_handshake()', error)} while SSL handshaking to upstream") from error
    except BaseException:
        stream.close()
        raise
    return stream


def describe(call: str, error: Any) -> str:
    """Return nginx's message for an error of the system.

    >>> describe("connect()", ConnectionRefusedError(111, "Connection refused"))
    'connect() failed (111: Connection refused)'
    """
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "verify_message", None) or error.reason or error
        return f"{call} failed (SSL: {reason})"
    if error.errno:
        return f"{call} failed ({error.errno}: {os.strerror(error.errno)})"
    return f"{call} failed ({error})"
