"""Byte streams over sockets: plain, TLS, and for greenlets (`gevent_stream`, loaded only where gevent runs)."""

from .addresses import address_number, address_text, local_address, packed_address
from .plain_stream import PlainStream
from .proxy_protocol import read_proxy_header
from .sockets import (
    HALF_CLOSED,
    acknowledged,
    client_socket,
    has_ended,
    is_torn,
    milliseconds,
    receive_exactly,
    reset,
    reset_on_close,
    system_poll,
)
from .stream import Address, Stream, load_kinds
from .system_thread import in_system_thread
from .tls_stream import TLSStream

__all__ = [
    "Address",
    "HALF_CLOSED",
    "PlainStream",
    "Stream",
    "TLSStream",
    "acknowledged",
    "address_number",
    "address_text",
    "client_socket",
    "gevent_side",
    "gevent_stream",
    "has_ended",
    "in_system_thread",
    "is_torn",
    "load_kinds",
    "local_address",
    "milliseconds",
    "packed_address",
    "read_proxy_header",
    "receive_exactly",
    "reset",
    "reset_on_close",
    "system_poll",
]
