"""The options of one listener: limits and timeouts of its clients, TLS, and the PROXY protocol.

Rules:
- The defaults are nginx's (ngx_http_core_module). Times are in seconds, sizes in bytes.
- `ListenerSettings.of` derives the settings of a location. It returns the same object if the location changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from ..http import METHOD, HeadRules

if TYPE_CHECKING:
    import ssl

    from ..config import CoreSettings

_LINE_END: Final = 2
"""Bytes of a CRLF, which nginx counts as part of the line in its buffer."""


def buffer_limits(large_client_header_buffers: tuple[int, int], client_header_buffer_size: int) -> tuple[int, int]:
    """Return (longest line, whole head) in bytes for nginx's buffers; the first argument is (number, size).

    >>> buffer_limits((4, 8192), 1024)
    (8190, 33792)
    """
    number, size = large_client_header_buffers
    return max(size, client_header_buffer_size) - _LINE_END, client_header_buffer_size + number * size


@dataclass
class ListenerSettings:
    """The options of one listener. A `rules` that is set decides the methods, too."""

    keepalive_timeout: float = 75.0
    """Seconds that an idle connection is kept; 0 keeps none."""
    keepalive_header: float | None = None
    """Seconds that the Keep-Alive field announces; None sends no such field."""
    keepalive_requests: int = 1000
    keepalive_time: float = 3600.0
    """Seconds after which a connection is no longer kept."""
    client_header_timeout: float = 60.0
    client_body_timeout: float = 60.0
    send_timeout: float = 60.0
    lingering_time: float = 30.0
    lingering_timeout: float = 5.0
    chunks: bool = True
    """Send a response without a length in chunks (`chunked_transfer_encoding`), not up to the connection's end."""
    max_line: int = 8190
    """Bytes of a request line; a longer one gets a 414."""
    max_field: int = 8190
    """Bytes of a field line; a longer one gets a 400."""
    max_head: int = 33792
    """Bytes of a whole head; a larger one gets a 400."""
    max_fields: int = 0
    """Fields of a head; 0 is no limit."""
    proxy_protocol: bool = False
    """Every connection begins with a PROXY protocol header."""
    trust_proxy_protocol: bool = False
    """REMOTE_ADDR is the client that the PROXY protocol header names."""
    tls: Callable[[], ssl.SSLContext] | None = None
    """Returns the context for a new connection; None is plain HTTP."""
    response_plain: bool = False
    """The application responds to plain HTTP that arrives at a TLS listener (`Connection.plain_on_tls`)."""
    http2: bool = False
    """A client on a plain listener may begin with the preface of HTTP/2 (RFC 9113, section 3.3)."""
    http2_streams: int = 128
    """Requests of one connection that are worked on at a time."""
    http2_window: int = 256 * 1024
    """Bytes of a body that a client may send before the application reads."""
    http2_chunk: int = 16 * 1024
    """The largest DATA frame that is sent."""
    rules: HeadRules | None = None
    """gunicorn's settings about request heads, where they govern this listener."""
    keep_line: str = field(init=False)
    """The lines of a response whose connection is kept."""
    scheme_keys: tuple[str, ...] = field(init=False)
    """The environ keys of the fields in which a trusted peer names the scheme."""
    methods: re.Pattern[str] = field(init=False)
    """The pattern of the accepted methods."""
    folds_methods: bool = field(init=False)
    """Methods are converted to upper case."""

    def __post_init__(self) -> None:
        line = "Connection: keep-alive\r\n"
        header = self.keepalive_header
        self.keep_line = line if header is None else f"{line}Keep-Alive: timeout={int(header)}\r\n"
        rules = self.rules
        # Assigned in every case: a compiled class has no class attributes that a default of a field could stay in.
        self.scheme_keys = () if rules is None else rules.scheme_keys
        self.methods = METHOD if rules is None else rules.methods
        self.folds_methods = rules is not None and rules.folds

    def of(self, core: CoreSettings) -> ListenerSettings:
        """Return these settings with those of a location; the same object if the location has the same."""
        changed = replace(
            self,
            keepalive_timeout=core.keepalive_timeout,
            keepalive_header=core.keepalive_timeout_header,
            keepalive_requests=core.keepalive_requests,
            keepalive_time=core.keepalive_time,
            client_body_timeout=core.client_body_timeout,
            send_timeout=core.send_timeout,
            chunks=core.chunked_transfer_encoding,
            http2_chunk=core.http2_chunk_size,
        )
        return self if changed == self else changed
