"""Opening a connection to an upstream, and the messages for failed connections.

Rules:
- After a failure here, no byte of the request was sent, so the next server may be tried.
- Messages are nginx's, for which operators search their logs.
"""

from __future__ import annotations

import errno
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
_ERROR_TYPES = {
    errno.ECONNREFUSED: "connection_refused",
    errno.ECONNRESET: "connection_terminated",
    errno.EPIPE: "connection_terminated",
    errno.EHOSTUNREACH: "destination_ip_unroutable",
    errno.ENETUNREACH: "destination_ip_unroutable",
}
LEFT = "client prematurely closed connection, so upstream connection is closed too"


def open_stream(route: Route) -> Stream:
    """Open a connection by a route, with the TLS handshake if any. Raise ConnectFailed or UpstreamTimeout."""
    try:
        stream = Stream.connect(route.address, route.connect_timeout, route.source)
    except TimeoutError:
        raise UpstreamTimeout(f"{TIMED_OUT} while connecting to upstream", sent=False, error_type="connection_timeout") from None
    except OSError as error:
        message = f"{describe('connect()', error)} while connecting to upstream"
        raise ConnectFailed(message, error_type=_error_type(error)) from error
    try:
        if route.socket_keepalive:
            with socket.socket(fileno=os.dup(stream.fileno())) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if route.tls is not None:
            stream = secure(stream, route)
    except TimeoutError:
        stream.close()
        message = f"{TIMED_OUT} while SSL handshaking to upstream"
        raise UpstreamTimeout(message, sent=False, error_type="connection_timeout") from None
    except OSError as error:
        stream.close()
        message = f"{describe('SSL_do_handshake()', error)} while SSL handshaking to upstream"
        raise ConnectFailed(message, error_type=_error_type(error)) from error
    except BaseException:
        stream.close()
        raise
    return stream


def _error_type(error: OSError) -> str:
    """Return the error type of a connection that failed (RFC 9209, section 2.3)."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "tls_certificate_error"
    if isinstance(error, ssl.SSLError):
        return "tls_alert_received" if "ALERT" in (error.reason or "") else "tls_protocol_error"
    return _ERROR_TYPES.get(error.errno or 0, "destination_unavailable")


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
