"""Zones with `sync`: pairs that all machines of a cluster share through Redis.

Rules:
- Look-ups and changes use the machine's own copy and never wait for Redis. The leader among the workers sends the changes of this
  machine and reads those of the others, in one round trip each `cluster.ROUND`.
- The last change of a key that reaches Redis counts. Expiry is a duration on the way, so that the clocks need not agree.
- While Redis is away each machine goes on with its copy. It sends its changes when Redis is back.
- A Redis that has lost its data gets the copies of the machines. A machine that missed a removal reads all pairs again.
- A full Redis refuses changes; they are tried again in the next round.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..cluster import Link, Script

if TYPE_CHECKING:
    from .log import Entry
    from .zone import Zone

_MOST: Final = 500
"""The largest number of changes in one direction of a round trip."""
_TRIPS: Final = 20
"""The largest number of round trips in one round, so that the other zones get their turn."""

# KEYS: the pairs (a hash), the keys by version and by expiry (sorted sets), and the state of the zone (a hash).
# ARGV: the identity known to the machine, one for new data, the last version known, the largest number of pairs in the reply;
# (set, offer or remove; key; value; milliseconds to live) of each change. An offer counts only if Redis does not know the key.
# The reply: identity, the last version, 1 if changes were refused, 1 if the machine must read all, and four items for each pair.
_EXCHANGE: Final = Script(
    """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local pairs_, versions, expiries, state = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local found = redis.call('HMGET', state, 'identity', 'version', 'floor')
local identity, version, floor = found[1], tonumber(found[2] or 0), tonumber(found[3] or 0)
local since, refused = tonumber(ARGV[3]), 0
if not identity then
  identity = ARGV[2]
  if type(redis.pcall('HSET', state, 'identity', identity, 'version', 0, 'floor', 0)) == 'table' then
    return redis.error_reply('OOM the pairs of a zone have no room')
  end
end
if identity ~= ARGV[1] or (since > 0 and since < floor) then
  return {identity, tostring(version), 0, 1, 0}
end
local due = redis.call('ZRANGEBYSCORE', expiries, '-inf', now, 'LIMIT', 0, 50)
if #due > 0 then
  local last = floor
  for _, key in ipairs(due) do
    last = math.max(last, tonumber(redis.call('ZSCORE', versions, key) or 0))
  end
  if last == floor or type(redis.pcall('HSET', state, 'floor', string.format('%d', last))) == 'number' then
    for _, key in ipairs(due) do
      redis.call('HDEL', pairs_, key)
      redis.call('ZREM', versions, key)
      redis.call('ZREM', expiries, key)
    end
  end
end
for i = 5, #ARGV, 4 do
  local what, key, value, ttl = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  if what ~= 'offer' or redis.call('HEXISTS', pairs_, key) == 0 then
    local reply = redis.pcall('HINCRBY', state, 'version', 1)
    if type(reply) == 'table' then
      refused = 1
      break
    end
    version = reply
    local expires = ttl > 0 and now + ttl or 0
    local mark = what == 'remove' and '-' or '+'
    redis.call('HSET', pairs_, key, string.format('%d %s', expires, mark) .. value)
    redis.call('ZADD', versions, version, key)
    if expires > 0 then
      redis.call('ZADD', expiries, string.format('%d', expires), key)
    else
      redis.call('ZREM', expiries, key)
    end
  end
end
local news = redis.call('ZRANGEBYSCORE', versions, '(' .. ARGV[3], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[4])
local more = #news == 2 * tonumber(ARGV[4])
local reply = {identity, more and news[#news] or tostring(version), refused, 0, more and 1 or 0}
for i = 1, #news, 2 do
  local expires, mark, value = string.match(redis.call('HGET', pairs_, news[i]) or '', '^(%d+) ([-+])(.*)$')
  if expires then
    local left = tonumber(expires) == 0 and 0 or math.max(1, tonumber(expires) - now)
    reply[#reply + 1] = news[i]
    reply[#reply + 1] = mark .. value
    reply[#reply + 1] = string.format('%d', left)
    reply[#reply + 1] = news[i + 1]
  end
end
return reply
"""
)
_REMEMBERED: Final = 86_400_000
"""Milliseconds for which Redis remembers a removed key. A machine that was away for longer reads all pairs again."""


class SharedZone:
    """The synchronization of one zone, in the process that leads it. `clock` returns seconds since the epoch."""

    def __init__(self, zone: Zone, link: Link, clock: Callable[[], float] = time.time) -> None:
        self.zone = zone
        self._link = link
        self._clock = clock
        self._keys = [f"{link.prefix}:kv:{zone.name}:{part}" for part in ("pairs", "versions", "expiries", "state")]
        self._identity, self._cursor = zone.position
        self._offers: dict[bytes, Entry] = {}
        self._seen: set[bytes] | None = None
        """The keys read so far while all pairs are read, else None."""

    def round(self) -> bool:
        """Send and read changes once. Return True if more are waiting. OSError if Redis fails."""
        changes = dict(list(self.zone.pending().items())[:_MOST])
        offers = dict(list(self._offers.items())[: _MOST - len(changes)])
        now = int(self._clock() * 1000)
        arguments: list[Any] = [self._identity, os.urandom(16).hex(), self._cursor, _MOST]
        for what, entries in (("set", changes), ("offer", offers)):
            for key, entry in entries.items():
                left = entry.expires - now
                if entry.value is None:
                    arguments += ["remove", key, b"", _REMEMBERED]
                elif not entry.expires or left > 0:
                    arguments += [what, key, entry.value, max(left, 0)]
        identity, version, refused, all_again, more, *news = self._link.run(_EXCHANGE, self._keys, arguments)
        if all_again:
            self._begin_again(identity.decode(), int(version))
            return True
        self._cursor = int(version)
        self._take(news, {} if refused else {key: entry.number for key, entry in changes.items()})
        if not refused:
            for key in offers:
                self._offers.pop(key, None)
        if not more and not self._offers:
            self._finish()
        return bool(more) or not refused and (bool(self._offers) or len(changes) == _MOST)

    def _begin_again(self, identity: str, version: int) -> None:
        """Read all pairs from now on. Offer this machine's copy to a Redis that has no pairs, or has lost those it had."""
        if identity != self._identity and (self._identity or version == 0):
            self._offers = {key: entry for key, entry in self.zone.entries().items() if entry.version}
        self._identity, self._cursor, self._seen = identity, 0, set()

    def _take(self, news: list[Any], sent: dict[bytes, int]) -> None:
        now = int(self._clock() * 1000)
        records = []
        for at in range(0, len(news), 4):
            key, data, left, version = news[at : at + 4]
            value = data[1:] if data[:1] == b"+" else None
            records.append((key, value, now + int(left) if int(left) else 0, int(version)))
            if self._seen is not None and value is not None:
                self._seen.add(key)
        self.zone.take(records, sent)

    def _finish(self) -> None:
        """Record the position, after all changes have been read."""
        if self._seen is not None:
            self.zone.keep_only(self._seen)
            self._seen = None
        if self.zone.position != (self._identity, self._cursor):
            self.zone.set_position(self._identity, self._cursor)


class Rounds:
    """The rounds of one zone, for the leader of a machine (`Membership.each_round`)."""

    def __init__(self, zone: Zone, link: Link) -> None:
        self._zone = zone
        self._link = link
        self._shared: SharedZone | None = None

    def __call__(self) -> None:
        """Send and read all changes that are waiting, up to a limit. OSError if Redis fails."""
        if self._shared is None:
            # Made by the leader alone, which goes on from the position of the leader before it.
            self._shared = SharedZone(self._zone, self._link)
        for _ in range(_TRIPS):
            if not self._shared.round():
                return
