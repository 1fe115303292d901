"""Counters that workers share."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.forks import ended, forked
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.response import Attempt
from wsgi_proxy.shm.shared_memory import SharedMemory
from wsgi_proxy.status import metrics
from wsgi_proxy.status.counter import read_text, write_text
from wsgi_proxy.status.metrics import Metrics


class Named:
    def __init__(self, name: str) -> None:
        self.name = name


def counters() -> Metrics:
    return Metrics(SharedMemory.open(uuid.uuid4().hex))


def exchange(status: int, size: int = 0, counter: Any = None, taken: float = 0.0) -> Exchange:
    x = Exchange.from_environ({"REQUEST_METHOD": "GET", "wsgi.input": None, "RAW_URI": "/"})
    x.status, x.body_bytes_sent = status, size
    x.finished_at = x.started + taken
    x.compiled = SimpleNamespace(counter=counter)
    return x


def test_what_is_counted() -> None:
    counted = counters()
    a, b = counted.location("s", "/a"), counted.location("s", "/b")
    counted.record(exchange(200, 10, a, 0.02))
    counted.record(exchange(502, 0, b))
    counted.record(exchange(200, 99, None))
    words = a.totals()
    assert words[2] == 1 and sum(words[:6]) == 1 and words[metrics.SENT] == 10
    assert words[metrics.MICROSECONDS] == pytest.approx(20000, abs=2)
    assert sum(words[metrics.TIMES :]) == 1
    totals, groups, _ = counted.registry.group_totals(metrics.LOCATION, metrics.LOCATION_WORDS)
    assert totals[2] == totals[5] == 1 and len([group for group in groups.values() if sum(group)]) == 1


def test_a_request_without_a_location_is_counted() -> None:
    counted = counters()
    x = exchange(400)
    x.compiled = None
    counted.record(x)
    assert counted.registry.group_totals(metrics.LOCATION, metrics.LOCATION_WORDS)[0][4] == 1


def test_counters_outlive_the_worker_that_counted() -> None:
    counted = counters()
    counter = counted.location("s", "/")
    counted.record(exchange(200, 1, counter))
    assert ended(forked(lambda: counted.record(exchange(200, 5, counter)))) == 0
    assert counter.totals()[2] == 2 and counter.totals()[metrics.SENT] == 6


def attempt(status: int = 0, error: str = "", header: float | None = None, response: float | None = None) -> Attempt:
    made = Attempt("10.0.0.1:80")
    made.status, made.error, made.header_time, made.response_time = status, error, header, response
    made.bytes_sent, made.bytes_received = 3, 4
    return made


def test_attempts_of_a_server() -> None:
    counted = counters()
    counted.use({"u": object()}, {})
    pool: Any = SimpleNamespace(name="u")
    peer: Any = Named("10.0.0.1:80")
    counter = counted.peer(pool, peer)
    counter.ended(attempt(200, header=0.01, response=0.02), False)
    counter.ended(attempt(502, "connect() failed"), True)
    counter.ended(attempt(), False)
    counter.retried("error")
    counter.retried("no such word")
    words = counter.counter.totals()
    assert words[:7] == [2, 0, 1, 0, 0, 0, 1] and words[metrics.PEER_SENT] == 9 and words[metrics.PEER_RECEIVED] == 12
    assert sum(words[metrics.HEADER_TIMES : metrics.RESPONSE_TIMES]) == sum(words[metrics.RESPONSE_TIMES :]) == 1
    assert read_text(words, metrics.REASON) == "connect() failed" and words[metrics.FAILED_AT] > 0
    reasons = dict(zip(metrics.RETRY_REASONS, counted.retries("u").totals(), strict=True))
    assert reasons["error"] == reasons["other"] == 1 and sum(reasons.values()) == 2


def test_servers_that_variables_name_are_counted_together() -> None:
    counted = counters()
    one: Any = counted.peer(SimpleNamespace(name="a:80"), Named("10.0.0.1:80"))
    two: Any = counted.peer(SimpleNamespace(name="b:80"), Named("10.0.0.2:80"))
    assert one.counter is two.counter


def test_texts_in_words() -> None:
    words = [0] * 40
    write_text(words, 2, "é" * 200)
    assert read_text(words, 2) == "é" * 80
    write_text(words, 2, "short")
    assert read_text(words, 2) == "short" and words[:2] == [0, 0] and words[22:] == [0] * 18
