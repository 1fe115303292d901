"""A small DNS client for `resolver` with name servers: A and AAAA over UDP, and TCP after a truncated response.

Rules (RFC 1035, section 4; RFC 3596):
- Each query has a random id. Only a response from the queried server with the same id and question is accepted.
- The servers are queried in turn, each with its share of the timeout. The response that a name does not exist is final.
- The time to live of a response is the smallest of its records.
- /etc/hosts and search domains are ignored, as in nginx.
"""

from __future__ import annotations

import secrets
import socket
import struct
import time
from collections.abc import Sequence

from ..net import receive_exactly

_A, _AAAA, _IN = 1, 28, 1
_NO_SUCH_NAME = 3


class LookupFailed(OSError):
    """The name servers returned no address. `exists` is False if there is no such name."""

    def __init__(self, message: str, exists: bool = True) -> None:
        super().__init__(message)
        self.exists = exists


def look_up(name: str, servers: Sequence[str], timeout: float) -> tuple[list[str], float]:
    """Return the addresses of a name, IPv4 first, and the seconds for which they are valid. Raise LookupFailed without any."""
    found: list[str] = []
    lives: list[float] = []
    deadline = time.monotonic() + timeout
    for kind in (_A, _AAAA):
        addresses, life = _ask(name, kind, servers, deadline)
        found += addresses
        if addresses:
            lives.append(life)
    if not found:
        raise LookupFailed(f"{name} has no address", exists=False)
    return found, min(lives)


def _ask(name: str, kind: int, servers: Sequence[str], deadline: float) -> tuple[list[str], float]:
    failure: Exception = LookupFailed(f"no name server for {name}")
    for number, server in enumerate(servers):
        left = (deadline - time.monotonic()) / (len(servers) - number)
        if left <= 0:
            break
        identity, query = _query(name, kind)
        try:
            response = _over_udp(query, server, left)
            if response[2] & 0x02:
                response = _over_tcp(query, server, left)
            return _read(response, identity, query, kind)
        except LookupFailed as error:
            failure = error
            if not error.exists:
                raise
        except (OSError, EOFError, struct.error, IndexError, ValueError) as error:
            failure = error
    raise LookupFailed(f"{name} could not be resolved: {failure}")


def _address(server: str) -> tuple[int, tuple[str, int]]:
    host, colon, port = server.rpartition(":")
    if not colon or not port.isdigit() or server.endswith("]"):
        host, port = server, "53"
    host = host.strip("[]")
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), (host, int(port))


def _query(name: str, kind: int) -> tuple[int, bytes]:
    identity = secrets.randbelow(1 << 16)
    labels = name.rstrip(".").encode("idna").split(b".")
    question = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    # One question, recursion desired.
    return identity, struct.pack(">6H", identity, 0x0100, 1, 0, 0, 0) + question + struct.pack(">HH", kind, _IN)


def _over_udp(query: bytes, server: str, timeout: float) -> bytes:
    family, address = _address(server)
    deadline = time.monotonic() + timeout
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        sock.send(query)
        while True:
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
            response = sock.recv(4096)
            if (
                len(response) >= len(query)
                and response[:2] == query[:2]
                and response[12 : len(query)].lower() == query[12:].lower()
            ):
                return response


def _over_tcp(query: bytes, server: str, timeout: float) -> bytes:
    _, address = _address(server)
    with socket.create_connection(address, timeout) as sock:
        sock.sendall(struct.pack(">H", len(query)) + query)
        (length,) = struct.unpack(">H", receive_exactly(sock, 2))
        return receive_exactly(sock, length)


def _read(response: bytes, identity: int, query: bytes, kind: int) -> tuple[list[str], float]:
    """Return the addresses of one kind in a response, and the shortest time to live of all records, in seconds."""
    got, flags, _, count = struct.unpack(">4H", response[:8])
    if got != identity or not flags & 0x8000:
        raise ValueError("not a response to the query")
    code = flags & 0x0F
    if code:
        raise LookupFailed(f"the name server answered with code {code}", exists=code != _NO_SUCH_NAME)
    at = len(query)
    found: list[str] = []
    life = float("inf")
    for _ in range(count):
        at = _skip_name(response, at)
        record, kind_in, seconds, length = struct.unpack(">HHIH", response[at : at + 10])
        at += 10
        life = min(life, seconds)
        if record == kind and kind_in == _IN:
            family = socket.AF_INET if kind == _A else socket.AF_INET6
            found.append(socket.inet_ntop(family, response[at : at + length]))
        at += length
    return found, life


def _skip_name(data: bytes, at: int) -> int:
    while True:
        length = data[at]
        if length >= 0xC0:
            return at + 2
        at += 1 + length
        if not length:
            return at
