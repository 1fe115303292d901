"""From what a `server` line says to the addresses to connect to.

Rules:
- Every address of a name becomes a peer, IPv4 before IPv6, as nginx does with what the system's resolver gives it.
- Forms: `host`, `host:port`, `1.2.3.4:port`, `[v6]:port`, `unix:/path`, and URLs with http or https, which bring their port.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from .config import Server
from .errors import ConfigError, Fault
from .peers import Address, Peer


@dataclass(frozen=True)
class Target:
    """A `server` line's address, taken apart. `path` is that of a unix socket, else empty."""

    host: str
    port: int
    path: str = ""
    scheme: str = ""


def without_scheme(address: str) -> str:
    """The address as nginx would have it written."""
    _, colons, rest = address.partition("://")
    return rest.rstrip("/") if colons else address


def parse(address: str) -> Target:
    """Take an address apart. ValueError when it is none."""
    scheme, colons, rest = address.partition("://")
    if not colons:
        scheme, rest = "", address
    elif scheme.lower() not in ("http", "https"):
        raise ValueError(f'invalid URL prefix in "{address}"')
    scheme = scheme.lower()
    rest = rest.rstrip("/") if colons else rest
    if rest.startswith("unix:"):
        if len(rest) == len("unix:"):
            raise ValueError(f'no path in the unix domain socket in "{address}"')
        return Target("localhost", 0, rest[len("unix:") :], scheme)
    default = 443 if scheme == "https" else 80
    if rest.startswith("["):
        host, bracket, tail = rest[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise ValueError(f'invalid host in "{address}"')
        port = tail[1:]
        try:
            socket.inet_pton(socket.AF_INET6, host)
        except OSError:
            raise ValueError(f'invalid IPv6 address in "{address}"') from None
    else:
        host, colon, port = rest.partition(":")
        tail = colon
    if not host or "/" in host:
        raise ValueError(f'no host in "{address}"' if not host else f'invalid host in "{address}"')
    if tail and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f'invalid port in "{address}"')
    return Target(host, int(port) if tail else default, "", scheme)


def addresses(target: Target) -> list[Address]:
    """Where to connect: a path, or each (host, port) of the name. OSError when the name is not known."""
    if target.path:
        return [target.path]
    found: list[Address] = []
    answers = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    for family in (socket.AF_INET, socket.AF_INET6):
        for kind, _, _, _, where in answers:
            address = (str(where[0]), int(where[1]))
            if kind == family and address not in found:
                found.append(address)
    return found


def name_of(address: Address) -> str:
    """An address as $upstream_addr shows it."""
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def peers_of(server: Server) -> list[Peer]:
    """The peers of one server. ConfigError with the server's place when its name is not known or makes no sense."""
    try:
        target = parse(server.address)
    except ValueError as error:
        raise ConfigError(Fault(str(error), server.place.file, server.place.line)) from None
    try:
        found = addresses(target)
    except (OSError, UnicodeError):
        fault = Fault(f'host not found in upstream "{server.address}"', server.place.file, server.place.line)
        raise ConfigError(fault) from None
    return [Peer(server, address, name_of(address), target.host, target.scheme) for address in found]
