"""Rate limits of bodies: `limit_rate`, `limit_rate_after`, `X-Accel-Limit-Rate`, `proxy_limit_rate`.

Rules:
- nginx's count applies (ngx_http_write_filter, ngx_event_pipe): `after + rate * (t + 1)` bytes may have passed after t seconds.
  The share of the first second therefore goes at once.
- Bytes within the limit pass immediately, the others in shares of a tenth of a second, so that the flow is even.
- A rate of 0 is no limit.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..http import headers
from ..tunnel import Tunnelled

if TYPE_CHECKING:
    from ..config import Template
    from ..exchange import Exchange
    from ..http import Pairs
    from ..response import Response

_SIZE = re.compile(r"([0-9]{1,15})([kKmM]?)")
_NUMBER = re.compile(r"[0-9]{1,18}")
_UNITS = {"": 1, "k": 1024, "m": 1024 * 1024}


def rate_of(text: str) -> int | None:
    """Return the bytes of `100`, `10k` or `1m`; None for any other text.

    >>> rate_of("10k"), rate_of("fast")
    (10240, None)
    """
    found = _SIZE.fullmatch(text)
    return int(found[1]) * _UNITS[found[2].lower()] if found else None


def evaluated(template: Template | None, exchange: Exchange) -> int:
    """Return the bytes of a directive's value; 0 without a value or for one that is not a size."""
    return (rate_of(template(exchange)) or 0) if template is not None else 0


def accelerated(pairs: Pairs, ignored: frozenset[str]) -> int | None:
    """Return the rate in bytes per second that an upstream sets for its response (X-Accel-Limit-Rate), else None.

    The value is a number without a unit; nginx ignores any other (ngx_http_upstream_process_limit_rate).
    """
    text = None if "x-accel-limit-rate" in ignored else headers.first(pairs, "x-accel-limit-rate")
    return int(text) if text is not None and _NUMBER.fullmatch(text) else None


def pace(exchange: Exchange, response: Response) -> None:
    """Limit a response's body to the rate of its location, or to the one set for this request."""
    core = exchange.location.core if exchange.location_or_none is not None else None
    rate = exchange.limit_rate
    if rate is None:
        rate = evaluated(core.limit_rate, exchange) if core is not None else 0
    if rate > 0 and response.body and not isinstance(response.body, Tunnelled):
        response.body = Paced(response.body, rate, evaluated(core.limit_rate_after, exchange) if core is not None else 0)


class Paced:
    """A body delayed to `rate` bytes per second; the first `after` bytes are free.

    Closing it closes the other body. It can be iterated, and read ahead by `read_block`. `clock` and `sleep` are those of `time`
    by default.
    """

    __slots__ = ("_after", "_blocks", "_body", "_clock", "_passed", "_rate", "_rest", "_sleep", "_started")

    def __init__(
        self,
        body: Iterable[bytes],
        rate: int,
        after: int = 0,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self._body = body
        self._rate = rate
        self._after = after
        self._clock = clock
        # Looked up late, because gevent replaces time.sleep after this module was imported.
        self._sleep = sleep or (lambda seconds: time.sleep(seconds))
        self._blocks: Iterator[bytes] | None = None
        self._rest = memoryview(b"")
        self._passed = 0
        self._started = 0.0

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read_block():
            yield piece

    def read_block(self) -> bytes:
        """Return the next piece when it is due, b"" at the end. Raises the errors of the other body."""
        if not self._rest:
            if self._blocks is None:
                self._blocks = iter(self._body)
                self._started = self._clock()
            block = next(self._blocks, b"")
            if not block:
                return b""
            self._rest = memoryview(block)
        size = min(len(self._rest), self._room())
        piece, self._rest = bytes(self._rest[:size]), self._rest[size:]
        self._passed += size
        return piece

    def _room(self) -> int:
        """Return the number of bytes that may pass; wait for a tenth of a second's share, or for the rest of the block."""
        least = min(max(1, self._rate // 10), len(self._rest))
        while True:
            elapsed = self._clock() - self._started
            room = self._after + int(self._rate * (elapsed + 1)) - self._passed
            if room >= least:
                return room
            self._sleep((least - room) / self._rate)

    def ready(self) -> bool:
        """Return True if the other body's first block has arrived."""
        ready: Any = getattr(self._body, "ready", None)
        return ready is None or bool(ready())

    def next_at_hand(self) -> bool:
        """Return False: no piece counts as at hand, so that each leaves when it is due."""
        return False

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()
