"""The decision of several limits on one request, with a stand-in for the cluster's Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.support.limits import PrivateMemory, text
from wsgi_proxy.config import LimitReqZone
from wsgi_proxy.limits.decisions import Rate, judge, judge_together
from wsgi_proxy.limits.requests import RateZone


class Shared:
    """Gives one decision; None fails."""

    def __init__(self, decision: tuple[int, list[int]] | None) -> None:
        self.decision = decision

    def judge(self, limits: Sequence[tuple[str, bytes, int, int]]) -> tuple[int, list[int]]:
        if self.decision is None:
            raise OSError("away")
        return self.decision


def rate(name: str, burst: int, sync: bool) -> Rate:
    return Rate(RateZone(LimitReqZone(name, text("k"), 32 * 1024, 1000, sync=sync), PrivateMemory()), burst, None)


def together(limits: list[Rate], decision: tuple[int, list[int]] | None) -> Any:
    return judge_together(limits, [b"k"] * len(limits), 0, Shared(decision))  # type: ignore[arg-type]


def test_a_local_limit_refuses_before_redis_is_asked() -> None:
    local, shared = rate("l", 0, False), rate("s", 5, True)
    assert together([local, shared], (-1, [0])).wait == 0
    refused = together([local, shared], None)
    assert (refused.wait, refused.zone) == (None, "l")


def test_the_excess_that_redis_told_is_where_this_machine_goes_on() -> None:
    limit = rate("s", 5, True)
    assert together([limit], (-1, [4000])).excess == 4000
    assert [together([limit], None).wait for _ in range(2)] == [0, None]


def test_a_refusal_by_redis_is_kept_without_the_refused_request() -> None:
    limit = rate("s", 5, True)
    assert together([limit], (0, [6000])).wait is None
    assert together([limit], None).wait is None
    digest = limit.zone.table.digest(b"k")
    assert limit.zone.look(digest, 0, 0, False) == 6000
    assert limit.zone.look(digest, 2000, 0, False) == 4000


def test_keys_without_a_limit_need_no_decision() -> None:
    assert judge([rate("l", 0, False)], [b""], 0) is None
    assert judge_together([rate("s", 0, True)], [b""], 0, Shared(None)) is None  # type: ignore[arg-type]


def test_a_redis_that_knows_less_takes_nothing_from_this_machines_own_count() -> None:
    """A replica after a failover has not seen the requests meanwhile. A worker that is still without Redis knows them."""
    limit = rate("s", 5, True)
    assert [together([limit], None).wait is None for _ in range(7)] == [False] * 6 + [True]
    assert together([limit], (-1, [0])).wait == 0
    assert together([limit], None).wait is None
