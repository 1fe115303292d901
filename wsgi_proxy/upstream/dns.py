"""A small DNS client for `resolver` with name servers: A, AAAA and SRV over UDP, and TCP after a truncated response.

Rules (RFC 1035, section 4; RFC 2782; RFC 3596):
- Each query has a random id. Only a response from the queried server with the same id and question is accepted.
- A look-up begins with the server after that of the look-up before. The servers are queried in turn, each with its share of the
  timeout and at most RESEND seconds, and again until the timeout has passed.
- A server that cannot look a name up (SERVFAIL, NOTIMP, REFUSED), or knows that it does not exist, has the last say. A name is
  found only if the queries for all kinds of addresses are answered without an error.
- If no kind has an address, the alias (CNAME) in the response for the last kind is followed for all kinds, as in nginx.
- The time to live of a response is the smallest of its records and of the aliases that led to it.
- /etc/hosts and search domains are ignored, as in nginx.
"""

from __future__ import annotations

import secrets
import socket
import struct
import time
from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

from ..net import receive_exactly

A, AAAA = 1, 28
_CNAME, _SRV, _IN = 5, 33, 1
_NO_SUCH_NAME = 3
_FINAL = frozenset({2, 3, 4, 5})
"""The codes SERVFAIL, NXDOMAIN, NOTIMP and REFUSED."""
RESEND = 5.0
"""Seconds to wait for a server before the next one is asked, as in nginx."""
_ALIASES = 50
"""The most aliases that are followed (nginx's NGX_RESOLVER_MAX_RECURSION)."""


_turns: dict[tuple[str, ...], count[int]] = {}
"""The number of look-ups by these servers."""


class LookupFailed(OSError):
    """The name servers returned no address. `exists` is False if there is no such name."""

    def __init__(self, message: str, exists: bool = True) -> None:
        super().__init__(message)
        self.exists = exists


class Service(NamedTuple):
    """An SRV record: a host that provides a service, with its port (RFC 2782)."""

    priority: int
    weight: int
    port: int
    host: str


class _Answer(NamedTuple):
    """The records of one kind in a response, the name behind its aliases if they are not in it, and their time to live."""

    records: list[Any]
    alias: str
    life: float


def look_up(name: str, servers: Sequence[str], timeout: float, kinds: Sequence[int] = (A, AAAA)) -> tuple[list[str], float]:
    """Return the addresses of a name in the order of `kinds`, and the seconds for which they are valid.

    Raise LookupFailed without any, UnicodeError for a text that is no name.
    """
    found, life = _find(name, kinds, _turned(servers), time.monotonic() + timeout)
    if not found:
        raise LookupFailed(f"{name} has no address", exists=False)
    return found, life


def look_up_service(name: str, servers: Sequence[str], timeout: float) -> tuple[list[Service], float]:
    """Return the SRV records of a name, and the seconds for which they are valid. Raise as `look_up` does."""
    found, life = _find(name, (_SRV,), _turned(servers), time.monotonic() + timeout)
    if not found:
        raise LookupFailed(f"{name} has no service", exists=False)
    return found, life


def _turned(servers: Sequence[str]) -> list[str]:
    """Return the servers, each time from the next one on."""
    first = next(_turns.setdefault(tuple(servers), count())) % len(servers) if servers else 0
    return [*servers[first:], *servers[:first]]


def _find(name: str, kinds: Sequence[int], servers: Sequence[str], deadline: float) -> tuple[list[Any], float]:
    """Return the records of a name or of its aliases, and their time to live."""
    life = float("inf")
    asked = name
    for _ in range(_ALIASES):
        records: list[Any] = []
        alias = ""
        failure: LookupFailed | None = None
        for kind in kinds:
            try:
                answer = _ask(asked, kind, servers, deadline)
            except LookupFailed as error:
                failure = failure or error
                continue
            life = min(life, answer.life)
            records += answer.records
            alias = answer.alias
        if failure is not None:
            raise failure
        if records or not alias:
            return records, life
        asked = alias
    raise LookupFailed(f"{name} could not be resolved: too many aliases")


def _ask(name: str, kind: int, servers: Sequence[str], deadline: float) -> _Answer:
    failure: Exception = LookupFailed(f"no name server for {name}")
    useful = list(servers)
    turn: list[str] = []
    while useful and (left := deadline - time.monotonic()) > 0:
        turn = turn or list(useful)
        wait = min(left / len(turn), RESEND)
        server = turn.pop(0)
        identity, query = _query(name, kind)
        try:
            response = _over_udp(query, server, wait)
            if response[2] & 0x02:
                response = _over_tcp(query, server, wait)
            return _read(response, identity, query, kind)
        except TimeoutError as error:
            failure = error
        except LookupFailed:
            raise
        except (OSError, EOFError, struct.error, IndexError, ValueError) as error:
            failure = error
            useful.remove(server)
    raise LookupFailed(f"{name} could not be resolved: {failure or 'timed out'}")


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


def _read(response: bytes, identity: int, query: bytes, kind: int) -> _Answer:
    """Return the records of one kind in a response."""
    got, flags, _, answers = struct.unpack(">4H", response[:8])
    if got != identity or not flags & 0x8000:
        raise ValueError("not a response to the query")
    code = flags & 0x0F
    if code and code not in _FINAL:
        raise ValueError(f"the name server answered with code {code}")
    if code:
        raise LookupFailed(f"the name server answered with code {code}", exists=code != _NO_SUCH_NAME)
    at = len(query)
    found: list[Any] = []
    aliases: dict[str, str] = {}
    life = float("inf")
    for _ in range(answers):
        owner, at = _name(response, at)
        record, kind_in, seconds, length = struct.unpack(">HHIH", response[at : at + 10])
        at += 10
        if kind_in == _IN and record in (kind, _CNAME):
            life = min(life, seconds)
            if record == _CNAME:
                aliases[owner.lower()] = _name(response, at)[0]
            else:
                found.append(_record(response, at, length, kind))
        at += length
    asked = _name(query, 12)[0].lower()
    alias = ""
    for _ in range(len(aliases)):
        if asked in aliases:
            alias = aliases[asked]
            asked = alias.lower()
    return _Answer(found, alias, life)


def _record(data: bytes, at: int, length: int, kind: int) -> str | Service:
    """Return the address or the service of a record."""
    if kind == _SRV:
        priority, weight, port = struct.unpack(">3H", data[at : at + 6])
        return Service(priority, weight, port, _name(data, at + 6)[0])
    return socket.inet_ntop(socket.AF_INET if kind == A else socket.AF_INET6, data[at : at + length])


def _name(data: bytes, at: int) -> tuple[str, int]:
    """Return the name at an index, and the index behind it (RFC 1035, section 4.1.4). ValueError for a pointer that goes on."""
    labels: list[bytes] = []
    end = 0
    while True:
        length = data[at]
        if length >= 0xC0:
            end = end or at + 2
            target = (length & 0x3F) << 8 | data[at + 1]
            if target >= at:
                raise ValueError("a name points at itself")
            at = target
            continue
        at += 1 + length
        if not length:
            return b".".join(labels).decode("latin-1"), end or at
        labels.append(data[at - length : at])
