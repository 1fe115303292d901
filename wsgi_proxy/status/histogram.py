"""Histograms of durations: fixed bounds, and the percentiles that the counts of their buckets give.

Rules:
- All histograms have the same buckets, so that those of workers and locations are added by index.
- A bucket counts the durations above the bound before it, up to and including its own; the last has no bound (`le="+Inf"`).
- A percentile is interpolated within its bucket, so it differs from the exact value by less than the bucket's width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

BOUNDS: Final = tuple(
    float(f"{digit}e{power}") for power in range(-4, 2) for digit in (1, 1.5, 2, 3, 5, 7) if power > -4 or digit >= 5
) + (100.0,)
"""The upper bounds of the buckets in seconds, from 0.5 ms to 100 s, six in each power of ten."""
BUCKETS: Final = len(BOUNDS) + 1
EXPORTED: Final = tuple(bound for bound in BOUNDS if f"{bound:e}"[:3] in ("1.0", "2.0", "5.0"))
"""The bounds that the metrics for Prometheus have: every second one, which keeps the number of series small."""
_LIMITS: Final = list(BOUNDS)
QUANTILES: Final[tuple[tuple[str, float], ...]] = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))


def bucket_of(seconds: float) -> int:
    """Return the index of a duration's bucket. Compiled, this takes half the time of `bisect`."""
    low, high = 0, BUCKETS - 1
    while low < high:
        middle = (low + high) >> 1
        if _LIMITS[middle] < seconds:
            low = middle + 1
        else:
            high = middle
    return low


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Return the duration in seconds that a `share` (0 to 1) of the counted events does not exceed; None without events."""
    total = sum(counts)
    if not total:
        return None
    rank, seen = share * total, 0
    for index, count in enumerate(counts):
        if count and seen + count >= rank:
            low = BOUNDS[index - 1] if index else 0.0
            if index == len(BOUNDS):
                return low
            return low + (BOUNDS[index] - low) * (rank - seen) / count
        seen += count
    return BOUNDS[-1]


def percentiles(counts: Sequence[int]) -> dict[str, float | None]:
    """Return p50, p90 and p99 in seconds, rounded to microseconds."""
    found = {name: quantile(counts, share) for name, share in QUANTILES}
    return {name: None if value is None else round(value, 6) for name, value in found.items()}


def cumulative(counts: Sequence[int]) -> list[tuple[str, int]]:
    """Return (`le`, count) of each exported bucket as Prometheus counts them: all events up to the bound."""
    rows, total, wanted = [], 0, set(EXPORTED)
    for bound, count in zip(BOUNDS, counts, strict=False):
        total += count
        if bound in wanted:
            rows.append((f"{bound:g}", total))
    return [*rows, ("+Inf", sum(counts))]
