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
from wsgi_proxy.cluster import Link, Script, parse_address
from wsgi_proxy.config import Cluster

ECHO = Script("return ARGV[1]")


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


def test_addresses() -> None:
    assert parse_address("redis://h:7000/3")["port"] == 7000
    with pytest.raises(OSError, match="invalid address"):
        parse_address("http://h/")
