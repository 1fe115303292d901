"""`limit_req` over several machines: nginx's leaky bucket in Redis, by Redis's clock.

Rules:
- One script decides all shared limits of a request in one round trip. It counts the request in all of them, or in none if one
  refuses it (ngx_http_limit_req_module).
- A record is the time of its last request and its excess, in thousandths of a request. It expires when the excess is gone.
- The keys of the records are digests, so that no client's address or cookie is readable in Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from .link import Link, Script
from .membership import digest_of

# KEYS: a record for each limit. ARGV: the rate (thousandths of a request per second) and the burst (thousandths) of each limit.
# The reply is the number of the limit that refuses (0: none) and the excess at each limit.
_JUDGE: Final = Script(
    """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local found = {0}
for i = 1, #KEYS do
  local rate, burst = tonumber(ARGV[i * 2 - 1]), tonumber(ARGV[i * 2])
  local record = redis.call('GET', KEYS[i])
  local excess = 0
  if record then
    local at, before = string.match(record, '(%d+) (%d+)')
    local idle = math.max(0, now - tonumber(at))
    excess = math.max(0, tonumber(before) - math.floor(rate * idle / 1000) + 1000)
  end
  found[i + 1] = excess
  if excess > burst then
    found[1] = i
    return found
  end
end
for i = 1, #KEYS do
  local rate, excess = tonumber(ARGV[i * 2 - 1]), found[i + 1]
  local kept = math.floor((excess + 1000) * 1000 / rate) + 1000
  redis.call('SET', KEYS[i], string.format('%d %d', now, excess), 'PX', string.format('%d', kept))
end
return found
"""
)


class SharedRates:
    """The records of all machines of one cluster."""

    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def judge(self, limits: Sequence[tuple[str, bytes, int, int]]) -> tuple[int, list[int]]:
        """Decide on a request that the (zone, key, rate, burst) of `limits` concern, and count it unless one refuses it.

        Rate and burst are in thousandths, as in `limits.requests`. Return the index of the limit that refuses, or -1, and the
        excess at each limit up to that one. OSError if Redis fails.
        """
        prefix = self._link.prefix
        keys = [f"{prefix}:req:{zone}:{digest_of(key)}" for zone, key, _, _ in limits]
        arguments = [number for _, _, rate, burst in limits for number in (rate, burst)]
        found: Any = self._link.run(_JUDGE, keys, arguments)
        return int(found[0]) - 1, [int(excess) for excess in found[1:]]
