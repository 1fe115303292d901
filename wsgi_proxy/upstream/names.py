"""The addresses of a pool's servers, resolved at the start and again in the background.

Rules (resolver.py defines how long an address is valid):
- A resolution that is due starts in a thread (a greenlet if gevent has patched them) that ends with it: by the upkeep, once a
  second, so that no request finds expired addresses, or by a request where there is no upkeep.
- A pool that variables called for is not kept up: its next request waits for the resolution.
- A failed resolution leaves the known addresses. A response that a name does not exist, or has no address, removes them.
- A failed resolution is tried again after `valid=` of `resolver`, else after 5 seconds; by a request that waits, after a second,
  or at once if no address is known. Requests that waited for the same resolution do not repeat it.
- The pool takes in the result under its lock, and gets new peers only if an address has changed.
- The peer of an unchanged address stays the same object.
- The addresses are stored in shared memory. A worker that starts while a name cannot be resolved (its container or the name
  server restarts) uses the stored addresses.
- A name without `resolve` is resolved by the system, even with a `resolver`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from ..balance import Peer
from ..config import Server
from ..errors import ConfigError
from ..logs import errorlog
from ..net import address_text
from .dns import LookupFailed
from .resolver import SYSTEM, Instance, Resolver, first_instances, instances_of, target_of

_NEVER = float("inf")
_RETRY = 5.0
"""Seconds between attempts to find the new address of a name whose old one does not respond, and after a failure."""
_SOON = 1.0
"""The shortest time between two resolutions, in seconds."""
_MEMORY = 16384
"""Bytes of shared memory per name."""


def memory_size(names: int) -> int:
    """Return the bytes of shared memory for the addresses of a number of names."""
    return 8 + names * _MEMORY


def _label(server: Server) -> str:
    return f"{server.service} {server.address}" if server.service else server.address


class Addresses:
    """The present addresses of each server.

    `memory` returns a number of bytes that the workers share, and `lock` protects them. No holder of the lock resolves a name.
    Raises ConfigError if a name can neither be resolved at the start nor found in shared memory.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        resolver: Resolver,
        clock: Callable[[], float],
        memory: Callable[[int], memoryview],
        lock: AbstractContextManager[None],
        system: Resolver = SYSTEM,
    ) -> None:
        self.servers = servers
        self.targets = {server: target_of(server) for server in servers}
        self.named = [server for server, target in self.targets.items() if target.is_name]
        self._resolver = resolver
        self._system = system
        self._clock = clock
        self._lock = lock
        self._memory = memory(memory_size(len(self.named))) if self.named else None
        self.due = _NEVER
        """The time of the next resolution, in seconds since the epoch."""
        self._failed = False
        """True after a failure at the start, until the request that has waited for it has learnt of it."""
        self._placed: dict[tuple[Server, int, bool], Server] = {}
        """The servers with the weights of SRV records, and the backups among them."""
        self._origins: dict[Server, Server] = {}
        self._instances = {server: self._first(server) for server in servers}
        self._remember()
        self._suspects: set[Server] = set()
        self.resolving = False
        self._waiting = threading.Lock()
        self._awaited = 0
        """The number of resolutions that requests have waited for."""

    def _first(self, server: Server) -> list[Instance]:
        try:
            found, life = first_instances(server, self._resolver if server.resolve else self._system)
        except ConfigError:
            found = self._remembered(server)
            if not found:
                raise
            return found
        if server.resolve and self.targets[server].is_name:
            self._failed = self._failed or not found
            self.due = min(self.due, self._clock() + (max(_SOON, life) if found else 0.0))
        return found or self._remembered(server)

    def _remembered(self, server: Server) -> list[Instance]:
        """Return the addresses of a server that a worker has stored."""
        if self._memory is None:
            return []
        with self._lock:
            length = int.from_bytes(self._memory[:8], "little")
            text = bytes(self._memory[8 : 8 + length])
        known = json.loads(text) if text else {}
        return [
            Instance((str(host), int(port)), int(weight), bool(backup))
            for (host, port), weight, backup in known.get(_label(server), [])
        ]

    def _remember(self) -> None:
        if self._memory is not None:
            text = json.dumps({_label(server): self._instances[server] for server in self.named}).encode()
            if len(text) <= len(self._memory) - 8:
                with self._lock:
                    # The length is zero meanwhile, so that a killed worker leaves nothing instead of a part.
                    self._memory[:8] = bytes(8)
                    self._memory[8 : 8 + len(text)] = text
                    self._memory[:8] = len(text).to_bytes(8, "little")

    def peers(self, before: Sequence[Peer]) -> list[Peer]:
        """Return a peer for each address: servers, then backups, in the configuration's order. Reuse the peers of `before`."""
        known = {(id(peer.server), peer.address): peer for peer in before}
        peers = []
        for server in self.servers:
            target = self.targets[server]
            for instance in self._instances[server]:
                placed, address = self._place(server, instance), instance.address
                peer = known.get((id(placed), address))
                peers.append(peer or Peer(placed, address, address_text(address), target.host, target.scheme))
        return sorted(peers, key=lambda peer: peer.backup)

    def _place(self, server: Server, instance: Instance) -> Server:
        """Return the server with the weight of an instance, and as a backup if it is one. The same object each time."""
        if (instance.weight, instance.backup) == (server.weight, server.backup):
            return server
        key = (server, instance.weight, instance.backup)
        placed = self._placed.get(key)
        if placed is None:
            placed = self._placed[key] = replace(server, weight=instance.weight, backup=instance.backup)
            self._origins[placed] = server
        return placed

    def suspect(self, server: Server, now: float) -> None:
        """Note that an address of the server does not respond, because its name may have a new address."""
        server = self._origins.get(server, server)
        if server not in self._suspects and self.targets[server].is_name:
            self._suspects.add(server)
            self.due = min(self.due, now)

    def resolve_again(self, tell: Callable[[Callable[[], bool]], None]) -> None:
        """Start to resolve all names.

        `tell` receives a function that stores the result and returns True if an address has changed.
        """
        if not self.resolving:
            self.resolving = True
            threading.Thread(target=self._resolve, args=(tell,), name="wsgi_proxy resolve", daemon=True).start()

    def resolve_now(self, tell: Callable[[Callable[[], bool]], None]) -> None:
        """Resolve all names and wait for it, unless another request has just done so. `tell` is that of `resolve_again`."""
        if self._failed:
            self._failed = False
            return
        awaited = self._awaited
        with self._waiting:
            if self._awaited == awaited and self._clock() >= self.due:
                self._resolve(tell, waited=True)
                self._awaited += 1

    def _resolve(self, tell: Callable[[Callable[[], bool]], None], waited: bool = False) -> None:
        found: dict[Server, list[Instance]] = {}
        life = _NEVER
        least = _SOON
        retry = _SOON if waited else _RETRY if self._resolver.valid is None else self._resolver.valid
        for server in self.named:
            try:
                resolver = self._resolver if server.resolve else self._system
                found[server], valid = instances_of(server, self.targets[server], resolver)
            except (OSError, UnicodeError) as error:
                errorlog.line("error", f"{self.targets[server].host} could not be resolved: {error}")
                valid = retry
                if server.resolve and isinstance(error, LookupFailed) and not error.exists:
                    found[server] = []
                if waited and not found.get(server, self._instances[server]):
                    valid = least = 0.0
            if server.resolve:
                life = min(life, valid)

        def store() -> bool:
            changed = any(set(instances) != set(self._instances[server]) for server, instances in found.items())
            self._instances.update(found)
            self._remember()
            # A server that is still closed will be noted again.
            if self._suspects:
                life_now = min(life, _RETRY)
                self._suspects.clear()
            else:
                life_now = life
            self.due = self._clock() + max(least, life_now)
            self.resolving = False
            return changed

        tell(store)
