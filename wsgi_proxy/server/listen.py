"""The listening sockets of a configuration.

Rules:
- Each distinct address has one socket. A wildcard covers the single addresses of its port, as in nginx, and the local address of
  the connection selects the server.
- A reload keeps the socket of an address that is still in use, because clients wait in its queue.
- `reuseport` allows another instance to bind the same address. The workers share one socket even then, and each accepts only as
  many connections as it has capacity for.
- IPv6 sockets accept only IPv6 unless `ipv6only=off` is set.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Callable, Iterable
from typing import Any

from gunicorn import sock as gunicorn_sock

from ..config import Config, Listen
from ..errors import ConfigError, Fault
from ..net import address_text

Address = tuple[str, int] | str

_ATTEMPTS = 5
_PAUSE = 0.5
"""Seconds between two attempts. nginx tries five times, half a second apart."""


class _Named:
    """gunicorn's sockets, with the scheme of the configuration in their text."""

    tls = False
    passed = False
    """True for a socket of the service manager, which keeps its file."""

    def __str__(self) -> str:
        address = address_of(self)
        return (
            address_text(address) if isinstance(address, str) else f"{'https' if self.tls else 'http'}://{address_text(address)}"
        )


class _TCP(_Named, gunicorn_sock.TCPSocket):  # type: ignore[misc]
    """A socket with an IPv4 address."""


class _TCP6(_Named, gunicorn_sock.TCP6Socket):  # type: ignore[misc]
    """A socket with an IPv6 address."""


class _Unix(_Named, gunicorn_sock.UnixSocket):  # type: ignore[misc]
    """A unix socket."""


_KINDS: dict[int, Any] = {socket.AF_INET: _TCP, socket.AF_INET6: _TCP6, socket.AF_UNIX: _Unix}


def listens_of(config: Config) -> dict[Address, Listen]:
    """Return the `listen` of each address to bind. A default server's `listen` takes precedence."""
    found: dict[Address, Listen] = {}
    for server in config.servers:
        for listen in server.listens:
            known = found.get(listen.address)
            if known is None or (listen.default_server and not known.default_server):
                found[listen.address] = listen
    for wildcard in ("0.0.0.0", "::"):
        for address in [address for address in found if address[0] == wildcard and not isinstance(address, str)]:
            for other in list(found):
                same_family = isinstance(other, tuple) and (":" in other[0]) == (":" in wildcard)
                if same_family and other != address and other[1] == address[1]:
                    del found[other]
    return found


def covering(address: Address, bound: Iterable[Address]) -> Address | None:
    """Return the bound address that accepts connections to `address`, None if there is none."""
    wanted = set(bound)
    if address in wanted or isinstance(address, str):
        return address if address in wanted else None
    wildcard = ("::" if ":" in address[0] else "0.0.0.0", address[1])
    return wildcard if wildcard in wanted else None


def address_of(sock: Any) -> Address:
    """Return the address of a bound socket."""
    where = sock.getsockname()
    return (where[0], where[1]) if isinstance(where, tuple) else where


def bind(
    wanted: dict[Address, Listen], kept: Iterable[Any], cfg: Any, log: Any, pause: Callable[[float], None] = time.sleep
) -> tuple[list[Any], list[Any]]:
    """Return (the sockets of all wanted addresses, the sockets of `kept` that are no longer needed).

    Sockets of `kept` are reused. `pause` is called with the seconds between two attempts. Raises ConfigError with a fault for
    each address that cannot be bound, and then changes nothing.
    """
    have = {address_of(sock): sock for sock in kept}
    sockets: list[Any] = []
    made: list[Any] = []
    faults: list[Fault] = []
    for address, listen in wanted.items():
        sock = have.pop(address, None)
        if sock is None:
            try:
                sock = _open(address, listen, cfg, log, pause)
                made.append(sock)
            except OSError as error:
                faults.append(Fault(f"bind() to {address_text(address)} failed ({error.errno}: {error.strerror})"))
                continue
        sock.tls = listen.ssl
        sockets.append(sock)
    if faults:
        close(made)
        raise ConfigError(*faults)
    return sockets, list(have.values())


def passed(descriptors: Iterable[int], wanted: Iterable[Address], cfg: Any, log: Any) -> list[Any]:
    """Return the listening sockets that the service manager passed. Raises ConfigError for one that no `listen` names."""
    found = []
    addresses = set(wanted)
    for number in descriptors:
        sock = socket.socket(fileno=number)
        address = address_of(sock)
        if address not in addresses:
            message = (
                f'the service manager passes {address_text(address)}, which no "listen" names: make ListenStream and listen equal'
            )
            raise ConfigError(Fault(message))
        wrapper = _KINDS[sock.family](address, cfg, log, fd=sock.detach())
        wrapper.passed = True
        found.append(wrapper)
    return found


def cure(message: str) -> str:
    """Return a sentence that names the cure for the faults of `bind`."""
    if f"({errno.EACCES}: " in message:
        return (
            "A port below 1024 needs root or CAP_NET_BIND_SERVICE. Higher ports do not: change `listen` (`--bind` of a command)."
        )
    if f"({errno.EADDRINUSE}: " in message:
        return "Another process listens there: stop it (a wsgi-proxy by `-s quit`), or change `listen` (`--bind` of a command)."
    return "Change `listen` (`--bind` of a command) to an address of this machine."


def _open(address: Address, listen: Listen, cfg: Any, log: Any, pause: Callable[[float], None]) -> Any:
    """Return a listening socket in gunicorn's wrapper."""
    for attempt in range(_ATTEMPTS):
        try:
            sock = _bound(address, listen)
            break
        except OSError as error:
            if error.errno != errno.EADDRINUSE or attempt == _ATTEMPTS - 1:
                raise
            pause(_PAUSE)
    return _KINDS[sock.family](address, cfg, log, fd=sock.detach())


def _bound(address: Address, listen: Listen) -> socket.socket:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if isinstance(address, str):
            _remove_stale(address)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if listen.reuseport:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(listen.ipv6only))
        sock.bind(address)
        if isinstance(address, str):
            # As in nginx: access to the directory decides.
            os.chmod(address, 0o666)
        sock.listen(listen.backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Remove the file of a unix socket without a listener."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            os.unlink(path)


def close(sockets: Iterable[Any]) -> None:
    """Close sockets, and remove the files of unix sockets."""
    for sock in sockets:
        address = address_of(sock)
        sock.close()
        if isinstance(address, str) and not address.startswith("\0") and not getattr(sock, "passed", False):
            try:
                os.unlink(address)
            except FileNotFoundError:
                continue
