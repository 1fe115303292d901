"""gevent_side: watchers, timers and the greenlet that waits, seen through a stream."""

from __future__ import annotations

import gevent
import pytest

from tests.net.test_gevent_stream import green_pair
from tests.net.test_stream import in_greenlet


def test_two_readers_are_an_error_and_the_first_keeps_its_place() -> None:
    stream, peer = green_pair()
    first = in_greenlet(lambda: stream.recv(1))
    with pytest.raises(RuntimeError):
        in_greenlet(lambda: stream.recv(1))()
    peer.sendall(b"x")
    assert first() == b"x"
    stream.close()
    peer.close()


def test_a_killed_reader_leaves_no_claim() -> None:
    stream, peer = green_pair()
    greenlet = gevent.spawn(stream.recv, 1)
    gevent.sleep(0)
    greenlet.kill()
    assert stream.reading.waiter is None
    peer.sendall(b"x")
    assert in_greenlet(lambda: stream.recv(1))() == b"x"
    stream.close()
    peer.close()


def test_unread_data_does_not_spin_the_loop() -> None:
    stream, peer = green_pair()
    peer.sendall(b"xy")
    assert in_greenlet(lambda: (stream.wait_readable(), stream.recv(1)))()[1] == b"x"
    gevent.sleep(0.02)
    assert not stream.reading.started and stream.stirred()
    assert in_greenlet(lambda: stream.recv(1))() == b"y"
    stream.close()
    peer.close()


def test_the_watcher_stays_started_between_waits() -> None:
    stream, peer = green_pair()
    for _ in range(3):
        waiting = in_greenlet(lambda: stream.recv(1))
        peer.sendall(b"x")
        waiting()
        assert stream.reading.started
    stream.close()
    peer.close()


def test_idle_is_called_for_events_while_no_greenlet_waits() -> None:
    stream, peer = green_pair()
    seen: list[bytes | None] = []
    stream.reading.idle = lambda: seen.append(stream.recv_nowait(10))
    stream.reading.start()
    peer.sendall(b"x")
    gevent.sleep(0.02)
    assert seen == [b"x"]
    stream.close()
    peer.close()


def test_a_step_takes_events_in_the_hub_until_it_returns_false() -> None:
    stream, peer = green_pair()
    seen: list[tuple[bytes | None, bool]] = []

    def step() -> bool:
        data = stream.recv_nowait(10)
        seen.append((data, gevent.getcurrent() is gevent.get_hub()))
        return data != b"last"

    waiting = in_greenlet(lambda: stream.wait_while(step))
    for message in (b"one", b"two", b"last"):
        peer.sendall(message)
        gevent.sleep(0.02)
    waiting()
    assert seen == [(b"one", True), (b"two", True), (b"last", True)]
    peer.sendall(b"x")
    assert in_greenlet(lambda: stream.recv(1))() == b"x" and len(seen) == 3
    stream.close()
    peer.close()


def test_steps_do_not_prolong_the_wait() -> None:
    stream, peer = green_pair()
    stream.read_timeout = 0.3
    waiting = gevent.spawn(stream.wait_while, lambda: stream.recv_nowait(10) is not None)
    while not waiting.dead:
        peer.sendall(b"x")
        gevent.sleep(0.01)
    assert isinstance(waiting.exception, TimeoutError)
    stream.close()
    peer.close()


def test_the_hub_may_not_wait() -> None:
    stream, peer = green_pair()
    faults: list[BaseException] = []

    def in_hub() -> None:
        try:
            stream.recv(1)
        except RuntimeError as fault:
            faults.append(fault)

    gevent.get_hub().loop.run_callback(in_hub)
    gevent.sleep(0.02)
    assert len(faults) == 1
    stream.close()
    peer.close()


def test_a_short_wait_after_a_long_one_ends_in_its_own_time() -> None:
    stream, peer = green_pair()
    stream.read_timeout = 3600.0
    long = in_greenlet(lambda: stream.recv(1))
    peer.sendall(b"x")
    assert long() == b"x"
    stream.read_timeout = 0.05
    short = gevent.spawn(stream.recv, 1)
    short.join(30)
    assert isinstance(short.exception, TimeoutError)
    stream.close()
    peer.close()
