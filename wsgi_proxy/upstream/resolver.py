"""The addresses of a `server` directive: parsing, and name resolution.

Rules (ngx_http_upstream_module, server):
- Every address of a name becomes a peer, IPv4 before IPv6, as in nginx.
- The forms are `host`, `host:port`, `1.2.3.4:port`, `[v6]:port`, `unix:/path`, and URLs with http or https, which have a default
  port. The path of a unix socket may begin with several slashes, as in `unix:///path`.
- A name with `resolve` is resolved again when its addresses are no longer valid: after `valid=` of `resolver`, else the records'
  time to live, else SYSTEM_VALID seconds, because the system's resolver does not return a time to live.
- A name without `resolve` is resolved again only while one of its addresses does not respond. nginx would need a reload to find a
  restarted container at its new address.
- The addresses of a `service` are those of its SRV records (RFC 2782). Their weights hold unless the server has a weight, and the
  records of a lower priority are backups; of a backup server they are not used.
- When a name cannot be resolved again, the known addresses stay.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from dataclasses import dataclass
from typing import NamedTuple

from ..balance import Address
from ..config import Server, arguments
from ..errors import ConfigError, Fault
from .dns import AAAA, A, LookupFailed, Service, look_up, look_up_service

SYSTEM_VALID = 5.0
"""Seconds for which an address from the system's resolver is valid."""


@dataclass(frozen=True)
class Target:
    """A parsed address of a `server` directive. `path` is that of a unix socket, else empty."""

    host: str
    port: int
    path: str = ""
    scheme: str = ""

    @property
    def is_name(self) -> bool:
        """True if the host is a name."""
        if self.path:
            return False
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False


@dataclass(frozen=True)
class Resolver:
    """The system's resolver, or name servers (`resolver` with `valid=`, `ipv4=`, `ipv6=` and `resolver_timeout`).

    Times are in seconds. `families` are the kinds of addresses that the name servers are asked for, in this order.
    """

    servers: tuple[str, ...] = ()
    valid: float | None = None
    timeout: float = 30.0
    families: tuple[str, ...] = ("ipv4", "ipv6")

    def addresses(self, target: Target) -> tuple[list[Address], float]:
        """Return the addresses of a target, and the seconds for which they are valid. Raise OSError for an unknown name."""
        if target.path:
            return [target.path], float("inf")
        if not target.is_name:
            return [(target.host, target.port)], float("inf")
        if self.servers:
            hosts, life = look_up(target.host, self.servers, self.timeout, [_KINDS[family] for family in self.families])
            found: list[Address] = [(host, target.port) for host in hosts]
        else:
            found, life = _ask_system(target), SYSTEM_VALID
        return found, life if self.valid is None else self.valid

    def services(self, name: str, service: str) -> tuple[list[Instance], float]:
        """Return the servers that provide a service of a domain name, the preferred ones first, and the seconds of validity.

        Raise OSError without any. A service without a dot gets the form of RFC 2782, `_http._tcp.name`.
        """
        found, life = look_up_service(
            f"{service}.{name}" if "." in service else f"_{service}._tcp.{name}", self.servers, self.timeout
        )
        first = min(each.priority for each in found)
        made: list[Instance] = []
        failure = None
        for each in sorted(found, key=_by_priority):
            if not each.host or not each.port:
                # A dot as the target: the service is not available at this domain (RFC 2782).
                continue
            try:
                addresses, valid = self.addresses(Target(each.host, each.port))
            except (OSError, UnicodeError) as error:
                failure = error
                continue
            life = min(life, valid)
            made += [Instance(address, max(1, each.weight), each.priority > first) for address in addresses]
        if not made:
            raise failure or LookupFailed(f"the service {service} of {name} has no servers", exists=False)
        return made, life if self.valid is None else self.valid


class Instance(NamedTuple):
    """One address that provides a service. `backup` is True for those of a lower priority than the best one's."""

    address: Address
    weight: int
    backup: bool


def _by_priority(service: Service) -> int:
    return service.priority


SYSTEM = Resolver()
_KINDS = {"ipv4": A, "ipv6": AAAA}


def _ask_system(target: Target) -> list[Address]:
    found: list[Address] = []
    responses = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    for family in (socket.AF_INET, socket.AF_INET6):
        for kind, _, _, _, where in responses:
            address = (str(where[0]), int(where[1]))
            if kind == family and address not in found:
                found.append(address)
    return found


def parse(address: str) -> Target:
    """Return the parsed address. Raise ValueError for an invalid one."""
    scheme, colons, rest = address.partition("://")
    if not colons or address.startswith("unix:"):
        scheme, colons, rest = "", "", address
    elif scheme.lower() not in ("http", "https"):
        raise ValueError(f'invalid URL prefix in "{address}"')
    scheme = scheme.lower()
    rest = rest.rstrip("/") if colons else rest
    if rest.startswith("unix:"):
        path = rest[len("unix:") :]
        if not path:
            raise ValueError(f'no path in the unix domain socket in "{address}"')
        if len(os.fsencode(path)) > arguments.UNIX_PATH_MAX:
            raise ValueError(f'too long path in the unix domain socket in "{address}"')
        return Target("localhost", 0, path, scheme)
    if rest.startswith("["):
        host, bracket, tail = rest[1:].partition("]")
        colon, port = tail[:1], tail[1:]
        if not bracket or colon not in ("", ":"):
            raise ValueError(f'invalid host in "{address}"')
        try:
            socket.inet_pton(socket.AF_INET6, host)
        except OSError:
            raise ValueError(f'invalid IPv6 address in "{address}"') from None
    else:
        host, colon, port = rest.partition(":")
    uri = re.search("[/?#]", rest)
    if colons and host and uri is not None:
        raise ValueError(f'the URL of a server has no path, remove "{rest[uri.start() :]}" from "{address}"')
    if not host or "/" in host:
        raise ValueError(f'no host in "{address}"' if not host else f'invalid host in "{address}"')
    if colon and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f'invalid port in "{address}"')
    return Target(host, int(port) if colon else 443 if scheme == "https" else 80, "", scheme)


def split(text: str) -> tuple[str, str | None]:
    """Return the address in a URL without its scheme, and the URI behind it; None if there is no URI.

    A colon separates the path of a unix socket from the URI (ngx_http_proxy_module, proxy_pass).

    >>> split("b:80/uri?x"), split("unix:/run/s:/uri"), split("unix:/run/s")
    (('b:80', '/uri?x'), ('unix:/run/s', '/uri'), ('unix:/run/s', None))
    """
    if text.startswith("unix:"):
        path, colon, uri = text[5:].partition(":")
        return "unix:" + path, (uri or None) if colon else None
    found = re.search(r"[/?]", text)
    return (text[: found.start()], text[found.start() :]) if found else (text, None)


def split_port(address: str) -> tuple[str, int | None]:
    """Return the host of an address, or `unix:/path`, and the port as given, else None. Raise ValueError for an invalid one."""
    target = parse(address)
    if target.path:
        return "unix:" + target.path, None
    given = re.search(r":([0-9]+)\Z", address) is not None and not address.endswith("]")
    host = f"[{target.host}]" if ":" in target.host else target.host
    return host, target.port if given else None


def target_of(server: Server) -> Target:
    """Return the parsed address of a server. Raise ConfigError with the server's line if it is invalid."""
    try:
        return parse(server.address)
    except ValueError as error:
        raise ConfigError(Fault(str(error), server.place.file, server.place.line)) from None


def instances_of(server: Server, target: Target, resolver: Resolver) -> tuple[list[Instance], float]:
    """Return the addresses of a server, and the seconds for which they are valid. Raise OSError for an unknown name."""
    if not server.service:
        addresses, life = resolver.addresses(target)
        return [Instance(address, server.weight, server.backup) for address in addresses], life
    found, life = resolver.services(target.host, server.service)
    made = []
    for instance in found:
        if not (server.backup and instance.backup):
            weight = instance.weight if server.weight == 1 else server.weight
            made.append(Instance(instance.address, weight, server.backup or instance.backup))
    return made, life


def first_instances(server: Server, resolver: Resolver) -> tuple[list[Instance], float]:
    """Return the addresses of a server at the start, and the seconds for which they are valid.

    An unknown name with `resolve` has no addresses yet. Without it, raise ConfigError with the server's line.
    """
    try:
        return instances_of(server, target_of(server), resolver)
    except (OSError, UnicodeError):
        if server.resolve:
            return [], 0.0
        fault = Fault(f'host not found in upstream "{server.address}"', server.place.file, server.place.line)
        raise ConfigError(fault) from None
