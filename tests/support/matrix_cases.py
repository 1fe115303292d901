"""The combinations that tests/e2e/test_matrix.py tries, and a subset of them that covers every pair of values.

Rules:
- A case is one request in one direction through one kind of proxy (a worker class and a protocol).
- `covering_cases` has every interaction that `interactions` lists at least once. It is the same in every run.
- A body is made from its case's number, so that bytes of another request, or of another user, are always noticed.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Hashable, Iterator
from functools import lru_cache
from typing import NamedTuple

WORKERS = ("ProxyWorker", "gthread", "gevent")
PROTOCOLS = ("plain", "tls", "http2", "proxy")
STORES = ("off", "unbuffered", "disk", "memory")
DIRECTIONS = ("download", "upload")
FRAMINGS = ("length", "chunked")
SIZES = (0, 1, 16 << 10, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 1 << 20, 5 << 20)


class Pause(NamedTuple):
    """A pause within a body: `by` the origin, the client or neither (""), of so many seconds; `cut` ends the connection there."""

    by: str = ""
    seconds: float = 0.0
    cut: bool = False

    def __str__(self) -> str:
        return f"{self.by} cuts" if self.cut else f"{self.by} pauses {self.seconds}" if self.by else "no pause"


PAUSES = (
    Pause(),
    *(Pause(by, seconds) for by in ("origin", "client") for seconds in (0.15, 1.2)),
    *(Pause(by, cut=True) for by in ("origin", "client")),
)


class Case(NamedTuple):
    """One combination."""

    worker: str
    protocol: str
    store: str
    direction: str
    framing: str
    size: int
    pause: Pause

    def __str__(self) -> str:
        return " ".join(str(part) for part in self)

    @property
    def number(self) -> int:
        """A number that is always the same for this case and different from every other case's."""
        return _numbers()[self]

    @property
    def key(self) -> str:
        """The last part of the case's path."""
        return str(self.number)

    @property
    def at(self) -> int:
        """The byte before which the pause is: the first, one in the middle, or the last."""
        return (0, self.size // 2, max(0, self.size - 1))[self.number % 3]

    @property
    def cached(self) -> bool:
        return self.direction == "download" and self.store in ("disk", "memory")


@lru_cache(None)
def _numbers() -> dict[Case, int]:
    return {case: number for number, case in enumerate(_all())}


def _all() -> Iterator[Case]:
    for case in map(Case._make, itertools.product(WORKERS, PROTOCOLS, STORES, DIRECTIONS, FRAMINGS, SIZES, PAUSES)):
        # A body of no bytes that is announced as such cannot be cut.
        if not (case.pause.cut and case.size == 0 and case.framing == "length"):
            yield case


def content(key: str, user: str, size: int) -> bytes:
    """Return the `size` bytes that belong to `key` and `user` and to no other pair."""
    return random.Random(f"{key} {user}").randbytes(size)


@lru_cache(None)
def digest(key: str, user: str, size: int) -> str:
    """Return the SHA-256 of `content`, in hexadecimal."""
    return hashlib.sha256(content(key, user, size)).hexdigest()


def every_case(worker: str, protocol: str) -> list[Case]:
    """Return all cases of one worker class and protocol."""
    return [case for case in _numbers() if (case.worker, case.protocol) == (worker, protocol)]


def interactions(case: Case) -> set[Hashable]:
    """Return the interactions that a case shows, of those that the subset must show at least once: each pair of values, where a
    worker class with a protocol counts as one value; each of these with each store and direction; each size with each pause in
    each direction; each store and framing with each pause in each direction."""
    proxy = (case.worker, case.protocol)
    parts = [("proxy", proxy), *zip(case._fields[2:], case[2:], strict=True)]
    found: set[Hashable] = set(itertools.combinations(parts, 2))
    found.add((proxy, case.store, case.direction))
    found.add((case.direction, case.size, case.pause))
    found.add((case.direction, case.store, case.framing, case.pause))
    return found


@lru_cache(None)
def covering_cases() -> tuple[Case, ...]:
    """Return few cases with every interaction of all cases: each next one is the best of some that show a missing one."""
    draw = random.Random(10)
    showing: dict[Hashable, list[Case]] = {}
    for case in _numbers():
        for interaction in interactions(case):
            showing.setdefault(interaction, []).append(case)
    missing = set(showing)
    chosen = []
    for wanted in sorted(showing, key=repr):
        if wanted in missing:
            best = max(draw.choices(showing[wanted], k=60), key=lambda case: len(interactions(case) & missing))
            chosen.append(best)
            missing -= interactions(best)
    return tuple(chosen)
