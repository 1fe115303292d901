"""The watch over the configuration's files (`wsgi_proxy_watch on`), from which the main process reloads.

Rules:
- The files are the configuration with its includes, the files that match the patterns of its includes, and the certificates and
  keys that it names. A path is followed through symbolic links, so that a swapped link is a change (Kubernetes swaps `..data`).
- A look at the files is one stat call for each. Their contents are read only after a change that has settled.
- A change settles when the files have stayed the same for SETTLED seconds. Contents that are in use need no reload.
- Contents that could not be used are tried again after RETRY seconds, because a host name may be known by then. The first
  configuration is loaded again when its contents return, which ends the failure in the status.
"""

from __future__ import annotations

import glob
import hashlib
import os
import time
from collections.abc import Callable, Iterator

from ..config import Config, locations_of

SETTLED = 0.5
"""Seconds without a change after which the files are read."""
RETRY = 60.0
"""Seconds between two attempts with the same contents."""

_Mark = tuple[int, int, int, int] | None


class Watcher:
    """The files of one configuration, as they were read. `clock` returns the seconds of a monotonic clock."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._patterns = config.includes
        self._texts = {path for path, _ in config.files}
        self._keys = set(_tls_files(config))
        self._clock = clock
        self._used = {path: _digest(text.encode("utf-8", "surrogateescape")) for path, text in config.files}
        self._used.update({path: _read(path) for path in self._keys})
        self._seen: dict[str, _Mark] = {}
        self._since = clock()
        self._settled: dict[str, _Mark] = {}
        """The marks of the files whose contents were read last."""
        self._tried: dict[str, bytes] | None = None
        """The contents of the last attempt, which has failed if this watcher is still asked."""
        self._tried_at = 0.0

    def changed(self) -> bool:
        """Return True if the files have new contents that should be loaded now. Called about once a second."""
        now = self._clock()
        seen = {path: _mark(path) for path in self._paths()}
        if seen != self._seen:
            self._seen, self._since = seen, now
            return False
        if now - self._since < SETTLED:
            return False
        if seen == self._settled:
            if self._tried is None or now - self._tried_at < RETRY:
                return False
            self._tried_at = now
            return True
        self._settled = seen
        contents = {path: _read(path) for path in seen}
        if contents == (self._used if self._tried is None else self._tried):
            return False
        self._tried = None if contents == self._used else contents
        self._tried_at = now
        return True

    def _paths(self) -> Iterator[str]:
        yield from self._texts | self._keys
        for pattern in self._patterns:
            yield from (os.path.abspath(path) for path in glob.glob(pattern))


def _tls_files(config: Config) -> Iterator[str]:
    """Yield the paths of the certificates, keys and lists that the configuration's TLS settings name."""
    places = [place for server in config.servers if server.tls is not None for place in server.tls.places]
    places += [place for location in locations_of(config) for place in location.proxy.tls.places]
    yield from (place.path for place in places if place.path)


def _mark(path: str) -> _Mark:
    """Return the identity, size and time of change of a file; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _read(path: str) -> bytes:
    """Return the digest of a file's contents, empty if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return _digest(file.read())
    except OSError:
        return b""


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
