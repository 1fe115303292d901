"""The addresses behind a pool's servers, asked for at the start and again in the background.

Rules (resolve.py has the ones about how long an answer holds):
- Asking again is due by time, and happens when requests come; it waits in a thread (a greenlet where gevent has patched them)
  that ends with it.
- The pool is told under its own lock, and only when an address came or went.
- A peer of an address that stays is the same object as before.
- What was found is written into shared memory. A worker that starts while a name is unknown (its container is being restarted,
  the name server is away) goes on with what the others knew.
- A name without `resolve` is the system's matter, whatever `resolver` says.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from ..balance import Address, Peer
from ..config import Server
from ..errors import ConfigError
from .resolver import SYSTEM, Resolver, first_addresses, name_of, target_of

_NEVER = float("inf")
_RETRY = 5.0
"""Seconds between attempts to find the new address of a name whose old one does not answer."""


_MEMORY = 4096


def memory_size(names: int) -> int:
    """Bytes to remember the addresses of so many names."""
    return 8 + names * _MEMORY


class Addresses:
    """What each server's name means now. ConfigError when one means nothing at the start and nobody knows what it meant.

    `memory` gives so many bytes that the workers share, and `lock` excludes them from it; never while a name is asked for."""

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
        self._addresses = {server: self._first(server) for server in servers}
        self._remember()
        self._suspects: set[Server] = set()
        self.asking = False
        self.due = _NEVER
        """When to ask again, on the clock."""
        if any(server.resolve for server in self.named):
            valid = min(_RETRY if resolver.valid is None else resolver.valid, _RETRY)
            self.due = clock() + (valid if all(self._addresses.values()) else 1)

    def _first(self, server: Server) -> list[Address]:
        try:
            found = first_addresses(server, self._resolver if server.resolve else self._system)
        except ConfigError:
            found = self._remembered(server)
            if not found:
                raise
        return found or self._remembered(server)

    def _remembered(self, server: Server) -> list[Address]:
        """What the workers knew last."""
        if self._memory is None:
            return []
        with self._lock:
            length = int.from_bytes(self._memory[:8], "little")
            text = bytes(self._memory[8 : 8 + length])
        known = json.loads(text) if text else {}
        return [(str(host), int(port)) for host, port in known.get(server.address, [])]

    def _remember(self) -> None:
        if self._memory is not None:
            text = json.dumps({server.address: self._addresses[server] for server in self.named}).encode()
            if len(text) <= len(self._memory) - 8:
                with self._lock:
                    # A length of zero in between: who is killed here leaves nothing rather than a half.
                    self._memory[:8] = bytes(8)
                    self._memory[8 : 8 + len(text)] = text
                    self._memory[:8] = len(text).to_bytes(8, "little")

    def peers(self, before: Sequence[Peer]) -> list[Peer]:
        """A peer of each address: servers first, then backups, each in the configuration's order."""
        known = {(id(peer.server), peer.address): peer for peer in before}
        peers = []
        for server in self.servers:
            target = self.targets[server]
            for address in self._addresses[server]:
                peer = known.get((id(server), address))
                peers.append(peer or Peer(server, address, name_of(address), target.host, target.scheme))
        return sorted(peers, key=lambda peer: peer.backup)

    def suspect(self, server: Server, now: float) -> None:
        """An address of the server does not answer: perhaps it has moved."""
        if server not in self._suspects and self.targets[server].is_name:
            self._suspects.add(server)
            self.due = min(self.due, now)

    def ask_again(self, tell: Callable[[Callable[[], bool]], None]) -> None:
        """Begin to ask for all names. `tell` gets a function that takes the answers in and says whether anything changed."""
        if not self.asking:
            self.asking = True
            threading.Thread(target=self._ask, args=(tell,), name="wsgi_proxy resolve", daemon=True).start()

    def _ask(self, tell: Callable[[Callable[[], bool]], None]) -> None:
        found: dict[Server, list[Address]] = {}
        life = _NEVER
        for server in self.named:
            try:
                found[server], valid = (self._resolver if server.resolve else self._system).addresses(self.targets[server])
            except (OSError, UnicodeError):
                valid = _RETRY  # what is known so far stays
            if server.resolve:
                life = min(life, valid)

        def take_in() -> bool:
            changed = any(set(addresses) != set(self._addresses[server]) for server, addresses in found.items())
            self._addresses.update(found)
            self._remember()
            # Who is still closed says so again.
            if self._suspects:
                life_now = min(life, _RETRY)
                self._suspects.clear()
            else:
                life_now = life
            self.due = self._clock() + max(1.0, life_now)
            self.asking = False
            return changed

        tell(take_in)
