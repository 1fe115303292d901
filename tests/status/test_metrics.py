"""Counters that workers share."""

from __future__ import annotations

import multiprocessing
import uuid

from wsgi_proxy.exchange import Exchange
from wsgi_proxy.response import Attempt
from wsgi_proxy.shm.shared_memory import SharedMemory
from wsgi_proxy.status import metrics
from wsgi_proxy.status.metrics import Metrics


def exchange(status: int, size: int = 0, tries: int = 0) -> Exchange:
    x = Exchange.from_environ({"REQUEST_METHOD": "GET", "wsgi.input": None, "RAW_URI": "/"})
    x.status, x.body_bytes_sent = status, size
    x.tries = [Attempt("a") for _ in range(tries)]
    return x


def _record(key: str) -> None:
    Metrics(SharedMemory.open(key)).record(exchange(200, 5))


def test_what_is_counted() -> None:
    counted = Metrics(SharedMemory.open(uuid.uuid4().hex))
    counted.record(exchange(200, 10, 1))
    counted.record(exchange(502, 0, 3))
    totals = counted.totals()
    assert totals[metrics.REQUESTS] == 2 and totals[metrics.BODY_BYTES] == 10
    assert totals[metrics.STATUS + 2] == totals[metrics.STATUS + 5] == 1
    assert totals[metrics.UPSTREAM_FAILURES] == 2


def test_a_redirect_within_is_no_failure_of_an_upstream() -> None:
    counted = Metrics(SharedMemory.open(uuid.uuid4().hex))
    x = exchange(200)
    x.tries = [Attempt("a"), Attempt("b"), Attempt(""), Attempt("a")]
    counted.record(x)
    x.tries = [Attempt("a"), Attempt("")]
    counted.record(x)
    assert counted.totals()[metrics.UPSTREAM_FAILURES] == 1


def test_counters_outlive_the_worker_that_counted() -> None:
    key = uuid.uuid4().hex
    counted = Metrics(SharedMemory.open(key))
    counted.record(exchange(200))
    child = multiprocessing.get_context("fork").Process(target=_record, args=(key,))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert counted.totals()[metrics.REQUESTS] == 2
    assert counted.totals()[metrics.BODY_BYTES] == 5
