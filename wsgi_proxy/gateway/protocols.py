"""Gateway: the interface of a protocol that passes a request on as CGI variables.

Rules:
- A Gateway belongs to the settings of one location. It has no state of a request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config import GatewaySettings
    from .records import Records


class Gateway:
    """One protocol with the settings of a location."""

    __slots__ = ("keeps", "name", "status_line", "streams")

    def __init__(self, settings: GatewaySettings) -> None:
        self.name = settings.protocol
        """`fastcgi`, `uwsgi`, `scgi` or `memcached`."""
        self.streams = False
        """True if a body is sent in records, so that its length need not be known."""
        self.keeps = False
        """True if a connection is used again."""
        self.status_line = True
        """True if a response may begin with an HTTP status line."""

    def parameter(self, name: str, value: str) -> str:
        """Return one CGI variable as it is sent, one character per byte. Raise ProxyError (500) if it does not fit."""
        raise NotImplementedError

    def head(self, parameters: list[str], length: int | None) -> bytes:
        """Return the bytes before the request's body.

        `parameters` are the CGI variables in the form of `parameter`, `length` is that of the body in bytes, None if it is
        unknown. Raise ProxyError (500) if they do not fit the protocol.
        """
        raise NotImplementedError

    def body(self, data: bytes) -> bytes:
        """Return a block of the request's body as it is sent."""
        return data

    def end(self) -> bytes:
        """Return the bytes behind the request's body."""
        return b""

    def decoder(self, log: Callable[[str, str], None] | None) -> Records | None:
        """Return a decoder of one response; None if a response is sent as it is. `log` gets lines for the error log."""
        return None


def gateway_of(settings: GatewaySettings) -> Gateway:
    """Return the protocol that the settings name."""
    from .fastcgi import FastCGI
    from .memcached import Memcached
    from .uwsgi import SCGI, Uwsgi

    if settings.protocol == "memcached":
        return Memcached(settings)
    if settings.protocol == "fastcgi":
        return FastCGI(settings)
    return Uwsgi(settings) if settings.protocol == "uwsgi" else SCGI(settings)
