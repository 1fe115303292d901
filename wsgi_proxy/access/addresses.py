"""Access by client address: `allow` and `deny`.

Rules:
- `allow` and `deny` are evaluated in the order of the configuration. The first match decides, and without a match there is no
  decision.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from ..errors import Refusal
from ..logs import errorlog
from .networks import Networks, number

if TYPE_CHECKING:
    from ..config import Access
    from ..exchange import Exchange

CACHED_DECISIONS = 4096
"""The number of decisions cached per location."""


class AddressCheck:
    """The `allow` and `deny` rules of a location, as one check of the access phase.

    With `quiet` a refusal is not logged here: under `satisfy any` another check may still admit the request.
    """

    __slots__ = ("_decide", "_rules", "_shown", "quiet")

    def __init__(self, rules: Iterable[Access], quiet: bool = False) -> None:
        rules = tuple(rules)
        self._shown = [f"{'allow' if rule.allow else 'deny'} {rule.network}" for rule in rules]
        self._rules = [(rule.allow, Networks([rule.network])) for rule in rules]
        self._decide = lru_cache(maxsize=CACHED_DECISIONS)(self._first)
        self.quiet = quiet

    def _first(self, address: str) -> bool | None:
        where = number(address)
        for allow, network in self._rules:
            if where in network:
                return allow
        return None

    def __call__(self, exchange: Exchange) -> bool:
        """Return True if the address is allowed, False without a matching rule. Raises Refusal (403) if it is denied."""
        allowed = self._decide(exchange.remote_addr)
        if exchange.trace is not None:
            self._explain(exchange)
        if allowed is False:
            if not self.quiet:
                errorlog.line("error", "access forbidden by rule", exchange)
            raise Refusal(status=403)
        return bool(allowed)

    def _explain(self, exchange: Exchange) -> None:
        """Note the rule that decides about the client."""
        where = number(exchange.remote_addr)
        deciding = (shown for shown, (_, network) in zip(self._shown, self._rules, strict=True) if where in network)
        exchange.why("access", f"{exchange.remote_addr}: {next(deciding, 'no rule applies, so it is allowed')}")
