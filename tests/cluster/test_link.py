"""The connection to the cluster's Redis: replies to their requests, and failures that cost no more than the timeout."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time

import pytest
from redis import Redis

from tests.support.redis import RedisServer
from wsgi_proxy.cluster import Link, Script
from wsgi_proxy.config import Cluster

ECHO = Script("return ARGV[1]")
CONNECTIONS = Script("return string.match(redis.call('INFO', 'stats'), 'total_connections_received:(%d+)')")


def link(server: RedisServer, timeout: float = 30.0, clock: list[float] | None = None) -> Link:
    """A connection with a timeout that no busy machine reaches; `clock` holds the time that it sees."""
    settings = Cluster(server.url, "test", timeout)
    return Link(settings) if clock is None else Link(settings, lambda: clock[0])


def test_each_request_has_its_own_reply(redis: RedisServer) -> None:
    """Many threads share one connection, and the server has only one client besides."""
    shared = link(redis)
    wrong: list[object] = []

    def ask(number: int) -> None:
        for turn in range(50):
            if (got := shared.run(ECHO, [], [f"{number} {turn}"])) != f"{number} {turn}".encode():
                wrong.append(got)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    clients = Script("return redis.call('INFO', 'clients')")
    assert b"connected_clients:1\r\n" in shared.run(clients, [], [])
    shared.close()


def test_a_script_that_redis_forgot_is_sent_again(redis: RedisServer) -> None:
    shared = link(redis)
    assert shared.run(ECHO, [], ["a"]) == b"a"
    client = Redis(unix_socket_path=str(redis.socket))
    client.script_flush()
    client.close()
    assert shared.run(ECHO, [], ["b"]) == b"b"
    shared.close()


def test_a_refusal_of_redis_keeps_the_connection(redis: RedisServer) -> None:
    shared = link(redis)
    with pytest.raises(OSError, match="Redis"):
        shared.run(Script("return redis.call('NOSUCH')"), [], [])
    assert shared.run(ECHO, [], ["a"]) == b"a"
    shared.close()


def test_redis_away_rests_for_a_second_and_is_logged_once_a_minute(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    clock = [100.0]
    shared = link(redis, clock=clock)
    assert shared.run(ECHO, [], ["a"]) == b"a"
    redis.stop()
    with caplog.at_level(logging.INFO, "wsgi_proxy"):
        for _ in range(3):
            with pytest.raises(OSError, match="Redis"):
                shared.run(ECHO, [], ["a"])
        redis.start()
        with pytest.raises(OSError, match="a moment ago"):
            shared.run(ECHO, [], ["a"])
        clock[0] += 1.0
        assert shared.run(ECHO, [], ["b"]) == b"b"
        assert [record.message.partition(":")[0] for record in caplog.records] == [
            "the cluster's Redis fails, this machine decides alone",
            "the cluster's Redis answers again",
        ]
        redis.stop()
        with pytest.raises(OSError, match="Redis"):
            shared.run(ECHO, [], ["a"])
        assert len(caplog.records) == 2, "within the same minute"
        clock[0] += 60.0
        with pytest.raises(OSError, match="Redis"):
            shared.run(ECHO, [], ["a"])
        assert len(caplog.records) == 3
    shared.close()


def test_a_redis_that_hangs_fails_all_who_wait(redis: RedisServer) -> None:
    """They fail together when the first timeout ends, and not one timeout after the other."""
    shared = link(redis, timeout=0.2)
    assert shared.run(ECHO, [], ["a"]) == b"a"
    failed: list[OSError] = []

    def ask() -> None:
        try:
            shared.run(ECHO, [], ["b"])
        except OSError as error:
            failed.append(error)

    os.kill(redis.process.pid, signal.SIGSTOP)
    try:
        threads = [threading.Thread(target=ask) for _ in range(100)]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        for thread in threads:
            thread.join(60)
        # A hundred timeouts are 20 seconds.
        assert len(failed) == 100 and time.monotonic() - began < 15
    finally:
        os.kill(redis.process.pid, signal.SIGCONT)
    shared.close()


def test_a_late_reply_is_dropped_and_the_connection_stays(redis: RedisServer) -> None:
    clock = [100.0]
    shared = link(redis, timeout=0.05, clock=clock)
    patient(shared, ECHO, "a")
    number = patient(shared, CONNECTIONS)
    os.kill(redis.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(OSError, match="no reply within 50 ms"):
            shared.run(ECHO, [], ["late"])
        began = time.monotonic()
        for _ in range(1000):
            with pytest.raises(OSError, match="late"):
                shared.run(ECHO, [], ["not sent"])
        # A thousand timeouts are 50 seconds.
        assert time.monotonic() - began < 25
    finally:
        os.kill(redis.process.pid, signal.SIGCONT)
    assert patient(shared, ECHO, "b") == b"b"
    assert patient(shared, CONNECTIONS) == number
    shared.close()


def test_a_connection_without_a_reply_for_a_second_is_replaced(redis: RedisServer) -> None:
    clock = [100.0]
    shared = link(redis, timeout=0.05, clock=clock)
    number = patient(shared, CONNECTIONS)
    os.kill(redis.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(OSError, match="no reply within 50 ms"):
            shared.run(ECHO, [], ["late"])
        clock[0] += 1.0
        with pytest.raises(OSError, match="no reply within 1 s"):
            shared.run(ECHO, [], ["late"])
        with pytest.raises(OSError, match="a moment ago"):
            shared.run(ECHO, [], ["late"])
    finally:
        os.kill(redis.process.pid, signal.SIGCONT)
    clock[0] += 1.0
    assert patient(shared, CONNECTIONS) != number
    shared.close()


def test_a_posted_command_comes_before_the_next_and_its_failure_counts(redis: RedisServer) -> None:
    shared = link(redis)
    add = Script("return redis.call('INCR', KEYS[1])")
    for _ in range(3):
        shared.post(add, ["n"], [])
    assert shared.run(add, ["n"], []) == 4 and shared.failures == 0
    shared.post(Script("return redis.call('NOSUCH')"), [], [])
    assert shared.run(add, ["n"], []) == 5 and shared.failures == 1
    shared.close()


def patient(shared: Link, script: Script, *arguments: str) -> object:
    """Run a script through a link with a short timeout until a busy machine answers in time."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return shared.run(script, [], arguments)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_socket_that_another_thread_closes_meanwhile_is_a_failure(redis: RedisServer) -> None:
    """A thread that sends may find the connection lost while another one waits for a reply; a closed file is a ValueError."""

    class Closed:
        def pack_command(self, *words: object) -> list[bytes]:
            return []

        def send_packed_command(self, command: list[bytes], check_health: bool) -> None:
            return

        def can_read(self, timeout: float) -> bool:
            raise ValueError("I/O operation on closed file")

        def disconnect(self) -> None:
            return

    shared = link(redis)
    shared._connection = Closed()
    with pytest.raises(OSError, match="closed file"):
        shared.run(ECHO, [], ["a"])
