"""Failures, quarantine, probation and recovery, on a list of numbers and a given time."""

from __future__ import annotations

from typing import Any

import pytest

from wsgi_proxy.balance.health import BAD, GOOD, HEADER_MS, LAST_MS, UNKNOWN, Health, moving_average, size
from wsgi_proxy.config import Server


def health(**options: Any) -> Health:
    """Two servers with the same options."""
    servers = [Server("a", **options), Server("b", **options)]
    return Health([0] * (size(2) // 8), servers)


def test_closed_after_max_fails_and_open_after_fail_timeout() -> None:
    h = health(max_fails=3, fail_timeout=10.0)
    for _ in range(2):
        h.failed(0, 100)
    assert not h.closed(0, 100)
    h.failed(0, 105)
    assert h.closed(0, 105) and h.closed(0, 115)
    assert h.reopens(0) == 116 and not h.closed(0, 116)
    assert not h.closed(1, 105)


def test_no_limit_never_closes() -> None:
    h = health(max_fails=0)
    for _ in range(50):
        h.failed(0, 100)
    assert not h.closed(0, 100)
    assert h.failures() == [50, 0]


def test_one_probe_closes_the_door_behind_itself() -> None:
    h = health(fail_timeout=3.0)
    h.failed(0, 100)
    assert not h.closed(0, 104)
    h.picked(0, 104)
    assert h.closed(0, 104) and h.closed(0, 107) and not h.closed(0, 108)


def test_there_is_no_sliding_window() -> None:
    """Failures far apart add up; only a success picked after fail_timeout forgives."""
    h = health(max_fails=2, fail_timeout=10.0)
    h.failed(0, 100)
    assert not h.passed(0, 105)
    assert h.fails(0) == 1
    h.failed(0, 5000)
    assert h.closed(0, 5000)


def test_a_success_after_the_timeout_forgives() -> None:
    h = health(max_fails=2, fail_timeout=10.0)
    h.failed(0, 100)
    h.picked(0, 111)
    assert h.passed(0, 111)
    assert h.fails(0) == 0
    assert not h.passed(0, 112)


def test_every_change_that_matters_makes_a_new_epoch() -> None:
    h = health(fail_timeout=3.0)
    seen = [h.epoch]
    h.picked(0, 50)
    assert h.epoch == seen[-1]  # a healthy server's stamp has no effect
    h.failed(0, 100)
    seen.append(h.epoch)
    h.picked(0, 104)
    seen.append(h.epoch)
    h.passed(0, 104)
    seen.append(h.epoch)
    h.checked(1, False, 105)
    seen.append(h.epoch)
    assert len(set(seen)) == 5
    h.checked(1, False, 106)
    assert h.epoch == seen[-1]


def test_an_active_check_closes_and_opens() -> None:
    h = health(max_fails=1, slow_start=9.0)
    assert h.standing(0).check == UNKNOWN
    assert h.checked(0, False, 100)
    assert h.closed(0, 100) and h.closed(0, 10_000)
    assert h.standing(0).check == BAD and h.notable() == [0]
    h.failed(0, 150)
    assert h.checked(0, True, 200)
    assert not h.closed(0, 200)
    assert h.standing(0).check == GOOD and h.fails(0) == 0
    assert h.share(0, 200) < 0.2


def test_slow_start_grows_to_the_whole_weight() -> None:
    h = health(fail_timeout=1.0, slow_start=9.0)
    assert h.share(0, 100) == 1
    h.failed(0, 100)
    h.picked(0, 102)
    h.passed(0, 102)
    shares = [h.share(0, 102 + second) for second in range(11)]
    assert shares[0] == pytest.approx(0.1, abs=0.02)
    assert shares == sorted(shares) and shares[9] == 1 and shares[10] == 1
    assert all(share * 64 == int(share * 64) for share in shares)


def test_a_failure_below_the_limit_needs_no_slow_start() -> None:
    h = health(max_fails=3, fail_timeout=1.0, slow_start=9.0)
    h.failed(0, 100)
    h.picked(0, 102)
    h.passed(0, 102)
    assert h.share(0, 102) == 1


def test_response_times_are_averaged_as_nginx_does() -> None:
    h = health()
    for milliseconds in (100, 200):
        h.measured(HEADER_MS, 1, milliseconds)
    assert h.average(HEADER_MS, 1) == 105
    assert h.average(LAST_MS, 1) == 0 and h.average(HEADER_MS, 0) == 0
    assert moving_average(0, 0) == 0 and moving_average(0, 7) == 7 and moving_average(10, 0) == 10


def test_the_standing_is_everything_there_is_to_know() -> None:
    h = health()
    h.failed(1, 77)
    h.measured(LAST_MS, 1, 5)
    standing = h.standing(1)
    assert (standing.fails, standing.failures, standing.accessed, standing.checked, standing.last_ms) == (1, 1, 77, 77, 5)
    assert h.notable() == [1]


def test_the_results_of_other_machines_are_merged() -> None:
    h = health(max_fails=3, fail_timeout=10.0)
    h.failed(0, 100)
    before = h.epoch
    h.merge(0, 3, 2, 104, 104, None)
    assert h.closed(0, 114) and not h.closed(0, 115) and h.epoch > before
    assert (h.fails(0), h.failures()) == (3, [3, 0])
    # Times never go back.
    h.merge(0, 3, 0, 90, 90, None)
    assert h.closed(0, 114)
    assert not h.passed(0, 115), "no request was chosen after the quarantine"
    h.merge(0, 3, 0, None, 115, None)
    assert h.closed(0, 120), "another machine probes"
    h.merge(0, 0, 0, None, None, 121)
    assert not h.closed(0, 121) and h.standing(0).fails == 0


def test_patience_lengthens_a_quarantine() -> None:
    h = health(max_fails=1, fail_timeout=10.0)
    h.failed(0, 100)
    h.be_patient(4)
    assert h.closed(0, 114) and not h.closed(0, 115) and h.reopens(0) == 115
    h.be_patient(0)
    assert not h.closed(0, 111)
