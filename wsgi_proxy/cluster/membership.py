"""The machines of a cluster: their ids, their leases in Redis, and the rounds in which they tell each other their state.

Rules:
- A machine is the workers that share memory. Its id is random and lies there. Workers that drain after a reload are a machine
  beside the new ones.
- The leader among the workers renews the machine's lease every second. A machine that has not done so for LEASE seconds, by
  Redis's clock, is dead. Each machine removes dead machines and workers, and at once the workers that it has lost itself.
- A failure of Redis ends nothing: the rounds go on, and the leases are renewed when it answers again.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..logs import errorlog
from .link import Link, Script

if TYPE_CHECKING:
    from ..config import Cluster
    from ..shm import SharedMemory

LEASE: Final = 10.0
"""Seconds after which the counts and results of a machine that does not renew its lease are dropped."""
ROUND: Final = 0.04
"""Seconds between two rounds of the leader."""
BEAT: Final = 1.0
"""Seconds between two renewals of a lease."""
TASK_LEASE: Final = 3.0
"""Seconds after which another machine takes over a task of the cluster."""

# KEYS: the machines, the workers. ARGV: the machine, the lease (ms), its description, the ids of its living workers.
# An entry of a machine is its description behind the end of its lease; one of a worker is a number and the end of its lease.
_RENEW: Final = Script(
    """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %s', now + ARGV[2], ARGV[3]))
local living, mine = {}, ARGV[1] .. '.'
for i = 4, #ARGV do living[ARGV[i]] = true end
for which = 1, 2 do
  local entries = redis.call('HGETALL', KEYS[which])
  for i = 1, #entries, 2 do
    local ends = tonumber(string.match(entries[i + 1], which == 1 and '^%d+' or '%d+$'))
    local lost = which == 2 and string.sub(entries[i], 1, #mine) == mine and not living[entries[i]]
    if lost or ends < now then redis.call('HDEL', KEYS[which], entries[i]) end
  end
  redis.call('PEXPIRE', KEYS[which], ARGV[2] * 3)
end
return 1
"""
)
# KEYS: the machines. ARGV: the lease (ms). The reply is a list of ids, descriptions and milliseconds since the last renewal.
_LIST: Final = Script(
    """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local entries, found = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #entries, 2 do
  local ends, description = string.match(entries[i + 1], '^(%d+) (.*)$')
  if tonumber(ends) >= now then
    found[#found + 1] = entries[i]
    found[#found + 1] = description
    found[#found + 1] = now - (tonumber(ends) - tonumber(ARGV[1]))
  end
end
return found
"""
)
# KEYS: a task. ARGV: the machine, the lease (ms). The reply is 1 if the machine has the task.
_HOLD: Final = Script(
    """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
)
_LEAVE: Final = Script("return redis.call('HDEL', KEYS[1], ARGV[1])")


def digest_of(key: bytes) -> str:
    """Return the name of a key in Redis, in which no client's address or cookie is readable."""
    return hashlib.blake2b(key, digest_size=16).hexdigest()


class Machine(NamedTuple):
    """One machine of the cluster."""

    id: str
    name: str
    """The host's name."""
    since: float
    """The start, in seconds since the epoch by the machine's clock."""
    workers: int
    seen: float = 0.0
    """The seconds since its last renewal, by Redis's clock."""
    figures: Mapping[str, Any] = MappingProxyType({})
    """The figures that it has published (`Membership.figures`)."""


class Membership:
    """The place of this worker and its machine in the cluster."""

    def __init__(self, settings: Cluster, memory: SharedMemory) -> None:
        self.settings = settings
        self.each_second: list[Callable[[], None]] = []
        """Functions that every worker calls once a second. They may raise OSError."""
        self.each_round: list[Callable[[], None]] = []
        """Functions that the machine's leader calls every ROUND seconds. They may raise OSError."""
        self.figures: list[Callable[[], dict[str, Any]]] = []
        """Functions that the leader calls once a second. Their results go to the other machines, as JSON in the description."""
        self.leading = False
        """True in the worker that acts for its machine."""
        self._memory = memory
        self._words: Any = memory.area("cluster", 24).cast("Q")
        self.link = Link(settings, logged_at=self._words[2:3])
        with memory.lock("cluster"):
            if not self._words[0]:
                self._words[1] = int(time.time())
                self._words[0] = int.from_bytes(os.urandom(8), "big") | 1
        self.machine = f"{self._words[0]:016x}"
        """The machine's id."""
        self._tasks: dict[str, tuple[float, bool]] = {}
        """For each task the time of the next question to Redis, and whether this machine has the task."""
        self._stop = threading.Event()
        self._pid = 0

    @property
    def workers_key(self) -> str:
        """The key of the hash with the workers' leases."""
        return f"{self.link.prefix}:workers"

    @property
    def worker(self) -> str:
        """The id of this worker: its machine, its slot and the number of its claim on the slot."""
        slot = self._memory.slot
        return self._worker(slot, self._memory.generation(slot))

    def _worker(self, slot: int, generation: int) -> str:
        return f"{self.machine}.{slot}.{generation}"

    def machines(self) -> list[Machine]:
        """Return the living machines, the oldest first. OSError if Redis fails."""
        found: Any = self.link.run(_LIST, [f"{self.link.prefix}:machines"], [int(LEASE * 1000)])
        made = []
        for at in range(0, len(found), 3):
            id_, fields, seen = found[at].decode(), json.loads(found[at + 1]), int(found[at + 2]) / 1000
            name, since, workers = str(fields["name"]), float(fields["since"]), int(fields["workers"])
            made.append(Machine(id_, name, since, workers, seen, fields.get("figures", {})))
        return sorted(made, key=lambda machine: (machine.since, machine.id))

    def holds(self, task: str) -> bool:
        """Return True if this machine has a task of the cluster, which one machine at a time has. True if Redis fails.

        One process of the machine asks, at least once a second.
        """
        now = time.monotonic()
        again, held = self._tasks.get(task, (0.0, False))
        if now >= again:
            try:
                key = f"{self.link.prefix}:task:{task}"
                held = bool(self.link.run(_HOLD, [key], [self.machine, int(TASK_LEASE * 1000)]))
            except OSError:
                held = True
            self._tasks[task] = (now + BEAT / 2, held)
        return held

    # --- the rounds ------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start the rounds in this process, unless they have started. The thread is a greenlet if gevent has patched threads."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._stop = threading.Event()
            threading.Thread(target=self._run, args=(self._stop,), name="wsgi_proxy cluster", daemon=True).start()

    def close(self) -> None:
        """Stop the rounds, end the machine's lease if no other worker lives, and close the connection."""
        begun, self._pid = self._pid == os.getpid(), 0
        self._stop.set()
        if begun and self.leading and len(self._memory.living()) == 1:
            self._attempt(self._leave)
        self.link.close()

    def _leave(self) -> None:
        self.link.run(_LEAVE, [f"{self.link.prefix}:machines"], [self.machine])

    def _run(self, stop: threading.Event) -> None:
        beat = 0.0
        self._memory.join()  # a worker of a configuration without upstreams has no slot yet
        while True:
            now = time.monotonic()
            if now >= beat:
                beat = now + BEAT
                self.leading = self.leading or self._memory.lead("cluster")
                if self.leading:
                    self._attempt(self.renew)
                for each in tuple(self.each_second):
                    self._attempt(each)
            if self.leading:
                for each in tuple(self.each_round):
                    self._attempt(each)
            pause = ROUND if self.leading and self.each_round else max(ROUND, beat - time.monotonic())
            if stop.wait(pause):
                return

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError:
            pass  # the link has logged it
        except Exception:  # a defect of one step must not end the others; the log gets its traceback
            errorlog.logger.exception("a step of the cluster's round failed")

    def renew(self) -> None:
        """Renew the machine's lease, and remove dead machines and workers. OSError if Redis fails."""
        self._memory.reap()
        living = [self._worker(slot, generation) for slot, generation in self._memory.living()]
        figures = {name: value for each in self.figures for name, value in each().items()}
        fields = {"name": socket.gethostname(), "since": self._words[1], "workers": len(living), "figures": figures}
        description = json.dumps(fields)
        keys = [f"{self.link.prefix}:machines", self.workers_key]
        self.link.run(_RENEW, keys, [self.machine, int(LEASE * 1000), description, *living])
