"""The state of upstreams in Redis, and the command by which a machine tells its changes and learns those of the others.

Rules:
- One script exchanges the state of all upstreams of a machine. It returns the results only if they have changed since the last
  exchange of the machine.
- Results are changes and not values, so that the failures of several machines add up. A machine without knowledge whether Redis
  has counted its changes tells its values once (`known` is empty), which count only where they are higher.
- Connections are values, kept under the lease of their machine. The reply has their sums over the other machines.
- Times are those of Redis's clock, in milliseconds, so the machines' clocks need not agree.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ...cluster import LEASE, Membership, Script

# KEYS: for each upstream the hash of its results and that of its connections. ARGV: the request as JSON (`Exchange.run`).
_EXCHANGE: Final = Script(
    """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local request = cjson.decode(ARGV[1])
local function numbers(text)
  local found = {}
  for each in string.gmatch(text or '0 0 0 0 0 0 0', '%d+') do found[#found + 1] = tonumber(each) end
  return found
end
local function change(key, each)
  -- each: server, failures, left after a success or -1, probe, health or -1, least failures, their age or -1
  local s = numbers(redis.call('HGET', key, 's' .. each[1]))
  if each[3] >= 0 then
    s[1], s[3] = each[3], s[3] + 1
  else
    s[1] = s[1] + each[2]
  end
  s[2] = s[2] + each[2]
  if each[2] > 0 then s[4], s[5] = now, now end
  if each[4] > 0 then s[5] = now end
  if each[6] > s[1] then
    s[2] = s[2] + each[6] - s[1]
    s[1], s[4], s[5] = each[6], math.max(s[4], now - each[7]), math.max(s[5], now - each[7])
  end
  local newer = each[7] < 0 or s[7] == 0
  if each[5] >= 0 and each[5] ~= s[6] and newer then s[6], s[7] = each[5], s[7] + 1 end
  redis.call('HSET', key, 's' .. each[1], string.format('%d %d %d %d %d %d %d', unpack(s)))
end
local function results(key, pool, answer)
  local head = redis.call('HMGET', key, 'id', 'version')
  local id, version = head[1], tonumber(head[2] or 0)
  if not id then
    id, version = string.format('%s %d', request.machine, now), 1
    redis.call('HSET', key, 'id', id, 'version', version)
  end
  answer.id = id
  if pool.known ~= '' and pool.known ~= id then return end
  if #pool.changes > 0 then
    for _, each in ipairs(pool.changes) do change(key, each) end
    version = version + 1
    redis.call('HSET', key, 'version', version)
  end
  answer.version = version
  if version == pool.version then return end
  answer.servers = {}
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 1) == 's' then
      answer.servers[string.sub(all[i], 2)] = all[i + 1]
    end
  end
end
local function connections(key, pool, answer)
  if pool.counts then
    redis.call('HSET', key, request.machine, string.format('%d %s', now + request.lease, pool.counts))
  end
  local sums, rank, all = {}, 0, redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local ends, counts = string.match(all[i + 1], '^(%d+) (.*)$')
    if tonumber(ends) < now then
      redis.call('HDEL', key, all[i])
    elseif all[i] ~= request.machine then
      if all[i] < request.machine then rank = rank + 1 end
      for server, count in string.gmatch(counts, '(%x+)=(%d+)') do sums[server] = (sums[server] or 0) + tonumber(count) end
    end
  end
  answer.sums, answer.rank = sums, rank
end
local answers = {}
for i, pool in ipairs(request.pools) do
  local key, counts = KEYS[i * 2 - 1], KEYS[i * 2]
  answers[i] = {now = string.format('%d', now)}
  results(key, pool, answers[i])
  connections(counts, pool, answers[i])
  if request.renew then
    redis.call('PEXPIRE', key, request.lease * 3)
    redis.call('PEXPIRE', counts, request.lease * 3)
  end
end
return cjson.encode(answers)
"""
)


class Change(NamedTuple):
    """The news about one server. The defaults say nothing."""

    server: str
    """The server's key, hexadecimal."""
    failures: int = 0
    left: int = -1
    """The failures after the last success, or -1 without one."""
    probe: int = 0
    health: int = -1
    """A new result of active checks (`balance.GOOD`, `balance.BAD`), or -1."""
    least: int = 0
    """The uncleared failures, if Redis may not have counted them."""
    age: int = -1
    """The milliseconds since the last of them. With an age the change is the machine's values, else -1."""


class ServerState(NamedTuple):
    """The results of all machines for one server."""

    fails: int
    failures: int
    clears: int
    failed: int
    """The time of the last failure."""
    checked: int
    """The time of the last failure or probe."""
    health: int
    health_changes: int


NOTHING: Final = ServerState(0, 0, 0, 0, 0, 0, 0)


class Told(NamedTuple):
    """The part of a machine in an exchange: the news of one upstream."""

    name: str
    known: str
    """The id of the state that the changes are relative to; "" for values."""
    version: int
    changes: Sequence[Change]
    counts: str | None
    """`server=connections` of each server with connections; None if they are as before."""


class Learnt(NamedTuple):
    """The reply about one upstream."""

    id: str
    version: int
    servers: dict[str, ServerState] | None
    """The results of all machines; None if they are as before, or if Redis has lost the state that `known` names."""
    sums: dict[str, int]
    """The connections of the other machines."""
    rank: int
    """The number of machines before this one, by their ids."""
    now: int
    """Redis's time."""


def exchange(membership: Membership, told: Sequence[Told], renew: bool) -> list[Learnt]:
    """Tell the news of this machine and return that of the others. OSError if Redis fails. `renew` keeps the state alive."""
    pools = []
    for each in told:
        pool: dict[str, Any] = {"known": each.known, "version": each.version, "changes": each.changes}
        if each.counts is not None:
            pool["counts"] = each.counts
        pools.append(pool)
    request = {"machine": membership.machine, "lease": int(LEASE * 1000), "renew": renew, "pools": pools}
    prefix = f"{membership.link.prefix}:upstream"
    keys = [key for each in told for key in (f"{prefix}:{each.name}", f"{prefix}-connections:{each.name}")]
    answers: Any = json.loads(membership.link.run(_EXCHANGE, keys, [json.dumps(request)]))
    return [_learnt(answer) for answer in answers]


def _learnt(answer: dict[str, Any]) -> Learnt:
    servers = answer.get("servers")
    states = None if servers is None else {key: ServerState(*map(int, state.split())) for key, state in servers.items()}
    sums = {key: int(count) for key, count in answer["sums"].items()}
    return Learnt(str(answer["id"]), int(answer.get("version", 0)), states, sums, int(answer["rank"]), int(answer["now"]))
