"""`limit_conn` over several machines: the number of concurrent requests per key, in Redis.

Rules:
- A key's record is a hash with a count for each worker. One script adds up the counts of the living workers and admits or refuses
  a request at all shared limits in one round trip. The end of a request is sent without waiting for a reply.
- Every worker has a lease, which it renews once a second together with its counts. A worker without a lease does not count, so a
  killed machine leaves nothing behind for longer than LEASE.
- A worker's counts carry the number of its announcement. After any failure of Redis the worker announces itself with a new number
  and with all its counts, and the old ones no longer count. So a lost reply or an empty Redis leaves no wrong count.
- While Redis fails, this machine's own limit applies. Its requests are counted when Redis is back.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Final

from .link import Link, Reply, Script
from .membership import LEASE, Membership, digest_of

_KEPT_MS: Final = int(3 * LEASE * 1000)
"""Milliseconds after which Redis drops a record that no worker has touched."""
_AT_ONCE: Final = 200
"""The most records in one command."""

# An entry of the hash `workers` is the number of the announcement and the end of the lease; a record has the number and a count.
_FUNCTIONS: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function pair(text)
  if not text then return -1, 0 end
  local first, second = string.match(text, '^(%d+) (%d+)$')
  return tonumber(first), tonumber(second)
end
local function keep(key, worker, number, count)
  if count > 0 then
    redis.call('HSET', key, worker, string.format('%d %d', number, count))
  else
    redis.call('HDEL', key, worker)
  end
end
"""
# KEYS: the workers, and a record for each limit. ARGV: the worker, its announcement, the milliseconds to keep records; for each
# limit the number, and the worker's requests that it knows to be admitted. The reply is the number of the limit that refuses, 0
# if none does, and -1 if the worker has no lease under this announcement.
_TAKE: Final = Script(
    _FUNCTIONS
    + """
local worker, number = ARGV[1], tonumber(ARGV[2])
local announced, ends = pair(redis.call('HGET', KEYS[1], worker))
if announced ~= number or ends < now then return -1 end
local own = {}
for i = 2, #KEYS do
  local limit, known = tonumber(ARGV[i * 2]), tonumber(ARGV[i * 2 + 1])
  local entries, others, counts = redis.call('HGETALL', KEYS[i]), {}, {}
  local total, mine = 0, 0
  for j = 1, #entries, 2 do
    local under, count = pair(entries[j + 1])
    if entries[j] ~= worker then
      others[#others + 1] = entries[j]
      counts[#counts + 1] = {under, count}
    elseif under == number then
      mine = count
    end
  end
  if #others > 0 then
    local leases = redis.call('HMGET', KEYS[1], unpack(others))
    for j = 1, #others do
      local under, expires = pair(leases[j])
      if under == counts[j][1] and expires >= now then
        total = total + counts[j][2]
      else
        redis.call('HDEL', KEYS[i], others[j])
      end
    end
  end
  own[i] = math.max(mine, known)
  if total + own[i] >= limit then return i - 1 end
end
for i = 2, #KEYS do
  keep(KEYS[i], worker, number, own[i] + 1)
  redis.call('PEXPIRE', KEYS[i], ARGV[3])
end
return 0
"""
)
# KEYS: the records. ARGV: the worker, its announcement; for each record the worker's other requests that it knows to be admitted,
# and 1 if it has no others.
_RELEASE: Final = Script(
    _FUNCTIONS
    + """
local worker, number = ARGV[1], tonumber(ARGV[2])
for i = 1, #KEYS do
  local under, count = pair(redis.call('HGET', KEYS[i], worker))
  local known = tonumber(ARGV[i * 2 + 1])
  if under == number and ARGV[i * 2 + 2] == '0' then known = math.max(known, count - 1) end
  if under <= number then keep(KEYS[i], worker, number, known) end
end
return 1
"""
)
# KEYS: the workers, and records. ARGV: the worker, its announcement, the lease and the time to keep records in milliseconds; for
# each record a count, and 1 if it is exact.
_ANNOUNCE: Final = Script(
    _FUNCTIONS
    + """
local worker, number = ARGV[1], tonumber(ARGV[2])
if pair(redis.call('HGET', KEYS[1], worker)) > number then return 0 end
redis.call('HSET', KEYS[1], worker, string.format('%d %d', number, now + ARGV[3]))
for i = 2, #KEYS do
  local under = pair(redis.call('HGET', KEYS[i], worker))
  if under ~= number or ARGV[i * 2 + 2] == '1' then keep(KEYS[i], worker, number, tonumber(ARGV[i * 2 + 1])) end
  redis.call('PEXPIRE', KEYS[i], ARGV[4])
end
return 1
"""
)


class _Count:
    """This worker's requests of one key: those admitted, and those that await a decision."""

    __slots__ = ("admitted", "asked")

    def __init__(self) -> None:
        self.admitted = 0
        self.asked = 0


class SharedConnections:
    """The counts of all machines of one cluster, as this worker changes them."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._link: Link = membership.link
        self._counts: dict[str, _Count] = {}
        self._announced = -1
        """The link's failures at the last announcement, which is its number."""
        self._order = threading.Lock()
        """Held from the making of a command until it is sent, so that Redis gets the counts in their order."""
        membership.each_second.append(self.announce)

    def take(self, limits: Sequence[tuple[str, bytes, int]]) -> tuple[int, SharedHeld | None]:
        """Decide on a request that the (zone, key, number) of `limits` concern, and count it in all of them or in none.

        Return the index of the limit that refuses, or -1 and the counted request. While Redis fails, every request is counted.
        """
        prefix = self._link.prefix
        keys = [f"{prefix}:conn:{zone}:{digest_of(key)}" for zone, key, _ in limits]
        numbers = [number for _, _, number in limits]
        refused = self._decide(keys, numbers)
        if refused > 0:
            return refused - 1, None
        return -1, SharedHeld(self, keys)

    def _decide(self, keys: list[str], numbers: list[int]) -> int:
        """Return the script's decision, 0 if Redis fails, and count an admitted request."""
        decision = -1
        for _ in range(2):
            try:
                if self._announced != self._link.failures:
                    self.announce()
                reply, announced = self._ask(keys, numbers)
            except OSError:
                break
            try:
                decision = int(self._link.finish(reply))
            except OSError:
                pass
            finally:
                self._answered(keys, admitted=decision == 0)
            if self._link.failures != announced:
                # The announcement of another request may have been sent before this one was known to be admitted.
                self._announced = -1
            if decision >= 0:
                return decision
            self._announced = -1
        with self._order:
            for key in keys:
                self._counts.setdefault(key, _Count()).admitted += 1
        return 0

    def _ask(self, keys: list[str], numbers: list[int]) -> tuple[Reply, int]:
        with self._order:
            announced = self._announced
            arguments: list[int | str] = [self._membership.worker, announced, _KEPT_MS]
            for key, number in zip(keys, numbers, strict=True):
                count = self._counts.get(key)
                arguments += [number, 0 if count is None else count.admitted]
            reply = self._link.begin(_TAKE, [self._membership.workers_key, *keys], arguments)
            for key in keys:
                self._counts.setdefault(key, _Count()).asked += 1
        return reply, announced

    def _answered(self, keys: list[str], admitted: bool) -> None:
        with self._order:
            for key in keys:
                count = self._counts[key]
                count.asked -= 1
                count.admitted += admitted
                if not (count.asked or count.admitted):
                    del self._counts[key]

    def release(self, keys: list[str]) -> None:
        """End a request that `take` counted."""
        with self._order:
            arguments: list[int | str] = [self._membership.worker, self._announced]
            for key in keys:
                count = self._counts[key]
                count.admitted -= 1
                arguments += [count.admitted, 0 if count.asked else 1]
                if not (count.asked or count.admitted):
                    del self._counts[key]
            if self._announced == self._link.failures:
                self._link.post(_RELEASE, keys, arguments)

    def announce(self) -> None:
        """Renew this worker's lease, and tell Redis its counts. OSError if Redis fails."""
        number = self._link.failures
        replies = []
        with self._order:
            fixed: list[int | str] = [self._membership.worker, number, int(LEASE * 1000), _KEPT_MS]
            items = list(self._counts.items())
            for start in range(0, max(1, len(items)), _AT_ONCE):
                part = items[start : start + _AT_ONCE]
                arguments = list(fixed)
                for _, count in part:
                    arguments += [count.admitted, 0 if count.asked else 1]
                replies.append(self._link.begin(_ANNOUNCE, [self._membership.workers_key, *(key for key, _ in part)], arguments))
            if self._link.failures == number:
                self._announced = number
        for reply in replies:
            self._link.finish(reply)


class SharedHeld:
    """One counted request. `close` ends it once, in the process that counted it."""

    __slots__ = ("_keys", "_pid", "_shared")

    def __init__(self, shared: SharedConnections, keys: list[str]) -> None:
        self._shared = shared
        self._keys = keys
        self._pid = os.getpid()

    def close(self) -> None:
        """End the request. A second call does nothing."""
        keys, self._keys = self._keys, []
        if keys and self._pid == os.getpid():
            self._shared.release(keys)
