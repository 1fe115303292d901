"""A zone in Redis for several machines: `proxy_cache_path redis://host:6379/0 keys_zone=…`.

Rules:
- Entries are values that Redis expires: after their remaining lifetime, plus their stale grace, plus `inactive`.
- Each key has a generation that every invalidation increments. A script stores an entry only if the generation is the one under
  which its fetch began.
- Each fill has a lock between machines. The leader of each machine asks for it. A leader that does not get it waits for the
  response of the other machine. The lock's value becomes "void" for two seconds if that response is not stored, so that no
  machine waits in vain.
- A Redis server that is away or slow is an OSError: a miss, one line in the log, and no further attempt for two seconds.
- Nothing is kept in this process's memory, because another machine may change it at any time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from cachecontrol.cache import BaseCache

from ..fill import Fill
from ..zone import ZoneCache
from .entry import Entry, digest_of
from .format import encode
from .plugin import BlobStorage

if TYPE_CHECKING:
    from ...config import CacheZone
    from ...exchange import Exchange

_CONNECT_TIMEOUT: Final = 0.25
_TIMEOUT: Final = 0.5
# Seconds after a failure in which Redis is not asked.
_REST: Final = 2.0
_GENERATION_KEPT: Final = 86400
# An entry of a target is compared with its count as long as it can be of use: at most a year (RFC 9111, section 5.3).
_VOIDED_KEPT: Final = 366 * 86400
# A fill's lock outlives a killed leader by this much. Waiting is bounded by proxy_cache_lock_timeout in any case.
_LOCK_KEPT_MS: Final = 15000
_VOID_KEPT_MS: Final = 2000
_FIRST_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 0.05

# KEYS: the generations of the zone and of the key, then entries. ARGV: the expected sum of both generations, then (value,
# seconds) of each entry.
_STORE: Final = """
local sum = tonumber(redis.call('GET', KEYS[1]) or '0') + tonumber(redis.call('GET', KEYS[2]) or '0')
if sum ~= tonumber(ARGV[1]) then return 0 end
for i = 3, #KEYS do redis.call('SET', KEYS[i], ARGV[i * 2 - 4], 'EX', ARGV[i * 2 - 3]) end
return 1
"""
# KEYS: lock. ARGV: token, and milliseconds for "void", 0 to free it.
_UNLOCK: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], 'void', 'PX', ARGV[2]) end
return 1
"""


class RedisStorage(BaseCache):
    """CacheControl's interface to one prefix of a Redis database. Every failure is an OSError."""

    def __init__(self, url: str, prefix: str) -> None:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError:
            raise OSError('the package "redis" is not installed: pip install "wsgi-proxy-nginx[redis]"') from None
        self.prefix = prefix
        self._errors = redis.RedisError
        self._resting_until = 0.0
        try:
            self._client = redis.Redis.from_url(
                url,
                socket_connect_timeout=_CONNECT_TIMEOUT,
                socket_timeout=_TIMEOUT,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise OSError(f"{url}: {error}") from None

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Run one command and return its result. OSError on failure, and at once for two seconds after one."""
        if time.monotonic() < self._resting_until:
            raise OSError("Redis did not answer a moment ago")
        try:
            return getattr(self._client, name)(*arguments, **options)
        except (self._errors, OSError) as error:
            self._resting_until = time.monotonic() + _REST
            raise OSError(f"Redis: {error}") from error

    def get(self, key: str) -> bytes | None:
        found: bytes | None = self.call("get", self.entry_key(key))
        return found

    def set(self, key: str, value: bytes, expires: int | datetime | None = None) -> None:
        if isinstance(expires, datetime):
            expires = max(1, int((expires - datetime.now(expires.tzinfo)).total_seconds()))
        self.call("set", self.entry_key(key), value, ex=expires or None)

    def delete(self, key: str) -> None:
        self.call("delete", self.entry_key(key))

    def close(self) -> None:
        self._client.close()

    def entry_key(self, name: str) -> str:
        return f"{self.prefix}:e:{name}"

    def names(self) -> Iterator[str]:
        """Yield the names of all entries, read in batches."""
        cursor, skip = 0, len(self.entry_key(""))
        while True:
            cursor, keys = self.call("scan", cursor, match=self.entry_key("*"), count=500)
            yield from (key[skip:].decode("latin-1") for key in keys)
            if not cursor:
                return


class RedisZone(ZoneCache):
    """A zone whose entries, generations and locks are in Redis."""

    def __init__(self, settings: CacheZone, redis: RedisStorage, directory: str) -> None:
        super().__init__(settings, BlobStorage(redis), directory, remember=False)
        self._redis = redis

    def _generation_key(self, primary: str) -> str:
        return f"{self._redis.prefix}:g:{primary}"

    def purged(self, key: str, exchange: Exchange | None = None) -> int:
        """Return the sum of the zone's and the key's generations; -1, under which nothing is stored, if Redis fails."""
        try:
            counts = self._redis.call("mget", self._generation_key(""), self._generation_key(digest_of(key)))
            return sum(int(count or 0) for count in counts)
        except OSError as error:
            self.fault("read", error, exchange)
            return -1

    def commit(self, entry: Entry, fill: Fill, purged: int, exchange: Exchange | None = None) -> bool:
        try:
            stored = self._put(entry, fill.read(), purged)
            if stored:
                fill.copied()
        except OSError as error:
            self.fault("store", error, exchange)
            return False
        return stored

    def refresh(self, entry: Entry, purged: int, exchange: Exchange | None = None) -> bool:
        try:
            stored = self.load(entry.name, exchange)
            if not isinstance(stored, Entry) or stored.id != entry.id:
                return False
            return self._put(entry, encode(entry, entry.body or b""), purged)
        except OSError as error:
            self.fault("store", error, exchange)
            return False

    def _put(self, entry: Entry, data: bytes, purged: int) -> bool:
        """Store an entry and the index that leads to it; False if its key was invalidated since `purged`."""
        keep = max(1, int(self.keep_of(entry)))
        pairs: list[tuple[str, bytes]] = []
        entry.name = entry.primary
        if entry.spec:
            index = self.index_of(entry).with_spec(entry.spec)
            pairs.append((entry.primary, encode(index)))
            entry.name = index.name_of(entry.spec, entry.selection)
        pairs.append((entry.name, data))
        keys = [self._generation_key(""), self._generation_key(entry.primary)]
        keys += [self._redis.entry_key(name) for name, _ in pairs]
        values = [part for _, value in pairs for part in (value, keep)]
        return bool(self._redis.call("eval", _STORE, len(keys), *keys, purged, *values))

    def remove(self, primary: str, name: str, *, invalidate: bool) -> bool:
        if invalidate:
            generation = self._generation_key(primary)
            self._redis.call("incr", generation)
            self._redis.call("expire", generation, _GENERATION_KEPT)
        return bool(self._redis.call("delete", self._redis.entry_key(name)))

    def _voided_key(self, target: str) -> str:
        return f"{self._redis.prefix}:t:{digest_of(target)}"

    def voided(self, target: str, exchange: Exchange | None = None) -> int:
        """Return the target's count; -2, under which nothing is stored, if Redis fails."""
        try:
            return int(self._redis.call("get", self._voided_key(target)) or 0)
        except OSError as error:
            self.fault("read", error, exchange)
            return -2

    def void(self, target: str) -> None:
        self._redis.call("incr", self._voided_key(target))
        self._redis.call("expire", self._voided_key(target), _VOIDED_KEPT)

    @property
    def lists(self) -> bool:
        return True

    def purge(self, wanted: Callable[[Entry], bool]) -> int:
        # First, so that no fetch that runs now on any machine is stored.
        self._redis.call("incr", self._generation_key(""))
        count = 0
        for name in list(self._redis.names()):
            entry = self.load(name)
            if isinstance(entry, Entry) and wanted(entry):
                self.invalidate(entry.key)
                if entry.name != entry.primary:
                    self.remove(entry.primary, entry.name, invalidate=False)
                count += 1
        return count

    def entries(self) -> Iterator[Entry]:
        try:
            for name in self._redis.names():
                found = self.load(name)
                if isinstance(found, Entry):
                    yield found
        except OSError as error:
            self.fault("read", error)

    def wait_for_others(self, fill: Fill, key: str, patience: float, exchange: Exchange | None = None) -> None:
        """Take the fill's lock between machines, or wait for the machine that has it, at most `patience` seconds."""
        lock = f"{self._redis.prefix}:l:{fill.name}"
        token = os.urandom(8).hex()
        deadline, pause = time.monotonic() + patience, _FIRST_PAUSE
        try:
            while True:
                if self._redis.call("set", lock, token, nx=True, px=_LOCK_KEPT_MS):
                    fill.when_released = self._unlocker(lock, token, exchange)
                    return
                if self._redis.call("get", lock) == b"void" or time.monotonic() >= deadline:
                    return
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)
        except OSError as error:
            self.fault("lock", error, exchange)

    def _unlocker(self, key: str, token: str, exchange: Exchange | None) -> Callable[[bool], None]:
        def unlock(adopted: bool) -> None:
            try:
                self._redis.call("eval", _UNLOCK, 1, key, token, 0 if adopted else _VOID_KEPT_MS)
            except OSError as error:
                self.fault("lock", error, exchange)

        return unlock

    def fault(self, what: str, error: OSError, exchange: Exchange | None = None) -> None:
        """Log any fault as one kind: Redis is away."""
        super().fault("use its storage", error, exchange)

    def close(self) -> None:
        super().close()
        self._redis.close()


def open_redis_zone(settings: CacheZone, directory: str) -> ZoneCache:
    """Return a zone in the Redis that the path names. `directory` holds the state that this machine's processes share."""
    return RedisZone(settings, RedisStorage(settings.path, f"wsgi-proxy:{settings.name}"), directory)
