"""Figures made of a counter's words, the same for locations, server blocks, upstream servers and the whole proxy.

Rules:
- Durations are seconds, sizes bytes. None stands for a value that is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import histogram, metrics

_NOTHING: dict[str, None] = {name: None for name, _ in histogram.QUANTILES}


def traffic(words: Sequence[int]) -> dict[str, Any]:
    """Return the figures of a location, or of any sum of locations."""
    times = words[metrics.TIMES : metrics.LOCATION_WORDS]
    return {
        "requests": sum(words[:6]),
        "responses": classes(words),
        "body_bytes": words[metrics.SENT],
        "request_body_bytes": words[metrics.RECEIVED],
        "latency": durations(words[metrics.MICROSECONDS], times),
    }


def classes(words: Sequence[int]) -> dict[str, int]:
    """Return the counts of the status classes; `none` has those without a status."""
    return {**{f"{kind}xx": words[kind] for kind in range(1, 6)}, "none": words[0]}


def durations(microseconds: int, counts: Sequence[int]) -> dict[str, Any]:
    """Return count, sum, mean and percentiles of a histogram."""
    count = sum(counts)
    if not count:
        return {"count": 0, "sum": 0.0, "mean": None, **_NOTHING, "buckets": list(counts)}
    total = microseconds / 1e6
    return {
        "count": count,
        "sum": round(total, 6),
        "mean": round(total / count, 6),
        **histogram.percentiles(counts),
        "buckets": list(counts),
    }
