"""Figures of a counter's words."""

from __future__ import annotations

from wsgi_proxy.status import metrics
from wsgi_proxy.status.figures import classes, durations, traffic


def test_traffic() -> None:
    words = [0] * metrics.LOCATION_WORDS
    words[2], words[5], words[0] = 7, 2, 1
    words[metrics.SENT], words[metrics.RECEIVED], words[metrics.MICROSECONDS] = 100, 50, 3_000_000
    words[metrics.TIMES] = 10
    found = traffic(words)
    assert found["requests"] == 10 and found["body_bytes"] == 100 and found["request_body_bytes"] == 50
    assert found["responses"] == {"1xx": 0, "2xx": 7, "3xx": 0, "4xx": 0, "5xx": 2, "none": 1}
    assert found["latency"]["count"] == 10 and found["latency"]["sum"] == 3.0 and found["latency"]["mean"] == 0.3


def test_nothing_is_none_and_not_zero() -> None:
    found = durations(0, [0] * 5)
    assert found["mean"] is found["p50"] is found["p99"] is None and found["sum"] == 0
    assert classes([3, 0, 0, 0, 0, 0])["none"] == 3
