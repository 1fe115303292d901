"""limit_req as arithmetic, with a given clock and private memory. tests/differential/test_limits.py compares it with nginx."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.limits import PrivateMemory, argument, exchange, text
from wsgi_proxy.config import GuardSettings, LimitReq, LimitReqZone
from wsgi_proxy.errors import ClientGone, Refusal
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.limits.requests import Rate, RateCheck, RateZone, judge, pause


def zone(rate: int = 1000, key: Any = None, size: int = 32 * 1024, name: str = "one") -> RateZone:
    """A zone of `rate` thousandths of a request per second."""
    return RateZone(LimitReqZone(name, key or text("k"), size, rate), PrivateMemory())


def run(limit: Rate, arrivals: list[int], key: bytes = b"k") -> list[int | None]:
    """The wait in ms (None: refused) of requests at these ms."""
    waits = []
    for now in arrivals:
        verdict = judge([limit], [key], now)
        assert verdict is not None
        waits.append(verdict.wait)
    return waits


def test_nginx_example_delays() -> None:
    # 1r/s burst=5, a request every 50 ms: what nginx 1.31 logged is 0.951, 1.900, 2.850, 3.799, 4.748 and two refusals.
    waits = run(Rate(zone(1000), 5, 0), [0, 49, 100, 150, 201, 252, 302, 353])
    assert waits == [0, 951, 1900, 2850, 3799, 4748, None, None]


def test_nodelay_takes_the_burst_at_once() -> None:
    assert run(Rate(zone(1000), 5, None), [0] * 8) == [0] * 6 + [None] * 2


def test_delay_parameter_delays_only_the_rest() -> None:
    assert run(Rate(zone(10_000), 5, 2), [0] * 7) == [0, 0, 0, 100, 200, 300, None]


def test_a_refused_request_does_not_count() -> None:
    limit = Rate(zone(1000), 0, 0)
    assert run(limit, [0, 10, 500, 999, 1000, 1999, 2000]) == [0, None, None, None, 0, None, 0]


def test_recovers_at_the_rate() -> None:
    limit = Rate(zone(2000), 3, None)
    assert run(limit, [0, 0, 0, 0, 0]) == [0, 0, 0, 0, None]
    assert run(limit, [499, 500, 500, 1500, 1500, 1500]) == [None, 0, None, 0, 0, None]


def test_a_clock_that_went_back_gives_no_credit() -> None:
    limit = Rate(zone(1000), 1, None)
    assert run(limit, [100_000, 99_990, 99_980, 100_000]) == [0, 0, None, None]


def test_keys_are_apart_and_empty_keys_free() -> None:
    limit = Rate(zone(1000), 0, 0)
    assert run(limit, [0, 0], b"a") == [0, None]
    assert run(limit, [0, 0], b"b") == [0, None]
    assert judge([limit], [b""], 0) is None
    assert judge([limit], [b"x" * 65536], 0) is None


def test_several_zones_count_all_or_none() -> None:
    strict, loose = Rate(zone(1000, name="strict"), 1, None), Rate(zone(1000, name="loose"), 3, None)
    verdicts = [judge([loose, strict], [b"k", b"k"], 0) for _ in range(4)]
    assert [(v.wait, v.zone) for v in verdicts if v] == [(0, "strict"), (0, "strict"), (None, "strict"), (None, "strict")]
    # The refused ones are not in `loose` either: two of its four are still free.
    assert run(loose, [0, 0, 0]) == [0, 0, None]


def test_several_zones_wait_for_the_slowest() -> None:
    slow, fast = Rate(zone(1000, name="slow"), 5, 0), Rate(zone(10_000, name="fast"), 5, 0)
    for limits in ([slow, fast], [fast, slow]):
        judge(limits, [b"k", b"k"], 0)
    verdict = judge([fast, slow], [b"k", b"k"], 0)
    assert verdict and (verdict.wait, verdict.zone, verdict.excess) == (2000, "slow", 2000)


def test_an_empty_last_key_leaves_the_others_counted() -> None:
    first, second = Rate(zone(1000, name="first"), 0, 0), Rate(zone(1000, name="second"), 0, 0)
    assert [getattr(judge([first, second], [b"k", b""], 0), "wait", 0) for _ in range(2)] == [0, None]


def test_full_table_forgets_who_was_idle_longest() -> None:
    small = zone(1000, size=4096)
    limit = Rate(small, 0, 0)
    keys = [b"%d" % number for number in range(small.table.capacity)]
    for now, key in enumerate(keys):
        assert run(limit, [now], key) == [0]
    assert run(limit, [900], b"0") == [None], "known, and now the newest"
    assert run(limit, [901], b"new") == [0]
    assert run(limit, [902], b"0") == [None]
    assert run(limit, [903], b"1") == [0], "the oldest was forgotten"


def test_idle_records_go_by_two() -> None:
    z = zone(1000)
    limit = Rate(z, 5, None)
    for key in (b"a", b"b", b"c", b"d"):
        run(limit, [0, 0], key)
    run(limit, [59_000], b"e")
    assert len(list(z.table.records())) == 5
    run(limit, [60_000], b"f")
    assert len(list(z.table.records())) == 4
    run(limit, [60_001], b"g")
    assert len(list(z.table.records())) == 3


# --- the step of the guard --------------------------------------------------------------------------------------------------


def check(
    settings: GuardSettings, clock: Callable[[], int] = lambda: 0, sleep: Callable[[float], None] | None = None
) -> Callable[[str], Exchange]:
    step = RateCheck(settings, {"one": zone(10_000, argument("k"))}, clock, sleep)

    def send(target: str) -> Exchange:
        x = exchange(target=target)
        step(x)
        return x

    return send


def test_statuses_delays_and_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    slept: list[float] = []
    settings = GuardSettings(limit_req=(LimitReq("one", burst=2),), limit_req_status=429)
    send = check(settings, sleep=slept.append)
    with caplog.at_level(logging.DEBUG, "wsgi_proxy"):
        assert send("/?k=a").limit_req_status == "PASSED"
        assert send("/?k=a").limit_req_status == "DELAYED"
        assert send("/?k=a").limit_req_status == "DELAYED"
        with pytest.raises(Refusal) as refusal:
            send("/?k=a")
        assert send("/").limit_req_status == ""
    assert refusal.value.status == 429
    assert slept == [0.1, 0.2]
    lines = [(record.levelname, record.getMessage().split(", client")[0]) for record in caplog.records]
    assert lines == [
        ("WARNING", 'delaying request, excess: 1.000, by zone "one"'),
        ("WARNING", 'delaying request, excess: 2.000, by zone "one"'),
        ("ERROR", 'limiting requests, excess: 3.000 by zone "one"'),
    ]


def test_dry_run_only_says_so(caplog: pytest.LogCaptureFixture) -> None:
    slept: list[float] = []
    send = check(GuardSettings(limit_req=(LimitReq("one", burst=1),), limit_req_dry_run=True), sleep=slept.append)
    with caplog.at_level(logging.DEBUG, "wsgi_proxy"):
        statuses = [send("/?k=a").limit_req_status for _ in range(3)]
    assert statuses == ["PASSED", "DELAYED_DRY_RUN", "REJECTED_DRY_RUN"]
    assert slept == []
    assert [record.getMessage().split(", client")[0] for record in caplog.records] == [
        'delaying request, dry run, excess: 1.000, by zone "one"',
        'limiting requests, dry run, excess: 2.000 by zone "one"',
    ]


def test_decided_once_per_request() -> None:
    step = RateCheck(GuardSettings(limit_req=(LimitReq("one"),)), {"one": zone()}, lambda: 0)
    x = exchange()
    step(x)
    step(x)
    with pytest.raises(Refusal):
        step(exchange())


def test_a_client_that_leaves_is_not_waited_for() -> None:
    class Connection:
        def client_gone(self) -> bool:
            return True

    slept: list[float] = []
    with pytest.raises(ClientGone):
        pause(exchange(connection=Connection()), 10.0, slept.append)
    assert slept == [0.25]
