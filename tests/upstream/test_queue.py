"""Requests that wait for a server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.support import wait_until
from tests.support.pools import Request
from wsgi_proxy.config import Server
from wsgi_proxy.errors import NoLiveUpstreams
from wsgi_proxy.shm.private_memory import PrivateMemory
from wsgi_proxy.shm.shared_memory import SharedMemory
from wsgi_proxy.upstream.pool import Pool
from wsgi_proxy.upstream.pool_state import Runtime
from wsgi_proxy.upstream.queue import Queue


@pytest.fixture
def pool() -> Pool:
    """One server that takes one request at a time, a second one that is down, and two places to wait."""
    servers = [Server("127.0.0.1:1", max_conns=1), Server("127.0.0.1:2", down=True)]
    return Pool(servers, "round_robin", queue=2, queue_timeout=600.0, runtime=Runtime(PrivateMemory()))


class Waiter(threading.Thread):
    def __init__(self, pool: Pool, order: list[int], number: int) -> None:
        super().__init__()
        self.pool, self.order, self.number = pool, order, number
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            lease = self.pool.lease(Request())
        except NoLiveUpstreams as error:
            self.error = error
            return
        self.order.append(self.number)
        lease.settle()


def test_they_go_on_in_the_order_they_came(pool: Pool) -> None:
    lease = pool.lease(Request())
    order: list[int] = []
    waiters = [Waiter(pool, order, number) for number in range(2)]
    assert pool._queue is not None
    for count, waiter in enumerate(waiters, 1):
        waiter.start()
        wait_until(lambda count=count: pool._queue.waiting == count, "the waiter")  # type: ignore[misc]
    with pytest.raises(NoLiveUpstreams):
        pool.lease(Request())  # a third has no place
    assert order == []
    lease.settle()
    for waiter in waiters:
        waiter.join(30)
    assert order == [0, 1]
    assert pool._queue.waiting == 0 and not pool._queue.busy
    assert pool.counts.totals == [0, 0]


def test_whose_time_is_up_is_refused() -> None:
    pool = Pool([Server("127.0.0.1:1", max_conns=1)], queue=5, queue_timeout=0.05, runtime=Runtime(PrivateMemory()))
    lease = pool.lease(Request())
    started = time.monotonic()
    with pytest.raises(NoLiveUpstreams):
        pool.lease(Request())
    assert time.monotonic() - started >= 0.05
    lease.settle()
    pool.lease(Request()).settle()


def test_who_tried_everybody_does_not_wait(pool: Pool) -> None:
    request = Request()
    pool.lease(request).settle(failed=True)
    with pytest.raises(NoLiveUpstreams):
        # Waiting would end behind the test's own time limit.
        pool.lease(request)


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    opened = SharedMemory.open(__name__)
    yield opened
    opened.path.unlink(missing_ok=True)


def test_what_another_worker_frees_is_seen(memory: SharedMemory) -> None:
    """The first in line looks by itself, without being woken."""
    queue = Queue(memory, "q", 1, 5.0)
    free_at = time.monotonic() + 0.05
    assert queue.wait(lambda: "free" if time.monotonic() > free_at else None) == "free"
    assert queue.waiting == 0


def test_an_exception_leaves_the_line() -> None:
    queue = Queue(PrivateMemory(), "q", 1, 5.0)

    def broken() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        queue.wait(broken)
    assert queue.waiting == 0 and not queue.busy
