"""Buckets of durations and their percentiles."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_proxy.status.histogram import BOUNDS, BUCKETS, EXPORTED, bucket_of, cumulative, percentiles, quantile


def test_the_bounds() -> None:
    assert BOUNDS[:6] == (0.0005, 0.0007, 0.001, 0.0015, 0.002, 0.003) and BOUNDS[-2:] == (70.0, 100.0)
    assert list(BOUNDS) == sorted(set(BOUNDS)) and BUCKETS == len(BOUNDS) + 1
    assert EXPORTED == (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def counted(times: list[float]) -> list[int]:
    counts = [0] * BUCKETS
    for each in times:
        counts[bisect_left(BOUNDS, each)] += 1
    return counts


@given(st.lists(st.floats(0, 99), min_size=1), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_percentile_is_in_the_bucket_of_the_exact_one(times: list[float], share: float) -> None:
    import math

    exact = sorted(times)[max(0, math.ceil(share * len(times) - 1e-9) - 1)]
    found = quantile(counted(times), share)
    assert found is not None
    at = bisect_left(BOUNDS, exact)
    low = BOUNDS[at - 1] if at else 0.0
    assert low - 1e-9 <= found <= BOUNDS[at] + 1e-9


def test_none_and_beyond() -> None:
    assert quantile([0] * BUCKETS, 0.5) is None
    assert percentiles(counted([500.0])) == {"p50": 100.0, "p90": 100.0, "p99": 100.0}


def test_prometheus_counts_up_to_each_bound() -> None:
    rows = cumulative(counted([0.0005, 0.0012, 0.3, 1000]))
    assert dict(rows)["0.0005"] == 1 and dict(rows)["0.001"] == 1 and dict(rows)["0.002"] == 2
    assert dict(rows)["0.5"] == 3 and rows[-1] == ("+Inf", 4)
    assert [le for le, _ in rows[:-1]] == [f"{bound:g}" for bound in EXPORTED]


def test_bounds_are_exact_decimals() -> None:
    assert [f"{bound:g}" for bound in BOUNDS if float(f"{bound:g}") != bound] == []
    assert pytest.approx(sum(BOUNDS[:2])) == 0.0012


def test_the_bucket_of_a_duration() -> None:
    for seconds in (0.0, 1e-9, 1e9, *BOUNDS, *(bound * 1.0001 for bound in BOUNDS), *(bound * 0.9999 for bound in BOUNDS)):
        assert bucket_of(seconds) == bisect_left(BOUNDS, seconds)
