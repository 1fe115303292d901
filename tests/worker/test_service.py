"""service: parked greenlets, counted requests, hooks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import gevent
from greenlet import getcurrent

from tests.support.client import Client, send_raw
from tests.support.ports import wait_until
from tests.support.service import serving
from wsgi_proxy.worker.service import _PARKED, Crew, Hooks

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


def crew() -> Crew:
    return Crew(gevent.get_hub(), logging.Logger("crew"))


def in_hub(work: Callable[[], None]) -> None:
    gevent.get_hub().loop.run_callback(work)
    gevent.sleep(0.01)


def test_a_greenlet_serves_again_and_again() -> None:
    people = crew()
    seen: list[Any] = []
    for _ in range(3):
        in_hub(lambda: people.run(lambda: seen.append(getcurrent())))
    assert len(seen) == 3 and len(set(seen)) == 1 and people.busy == 0


def test_who_is_not_the_hub_is_not_lost() -> None:
    people = crew()
    seen: list[str] = []
    people.run(lambda: seen.append("ran"))
    assert seen == []
    gevent.sleep(0.01)
    assert seen == ["ran"]


def test_waiting_work_takes_more_greenlets_and_only_some_are_kept() -> None:
    people = crew()
    gate = gevent.event.Event()
    for _ in range(_PARKED + 20):
        in_hub(lambda: people.run(gate.wait))
    assert people.busy == _PARKED + 20
    gate.set()
    gevent.sleep(0.05)
    assert people.busy == 0 and len(people._free) == _PARKED


def test_a_fault_does_not_end_the_greenlet() -> None:
    people = crew()

    def fail() -> None:
        raise ValueError("defect")

    in_hub(lambda: people.run(fail))
    assert people.busy == 0 and len(people._free) == 1


def test_a_timeout_left_behind_does_not_hit_the_next_request() -> None:
    people = crew()
    in_hub(lambda: people.run(lambda: gevent.Timeout(0.02).start()))
    gevent.sleep(0.05)
    seen: list[str] = []
    in_hub(lambda: people.run(lambda: seen.append("ran")))
    assert seen == ["ran"] and len(people._free) == 1


def test_max_requests_drains() -> None:
    with serving(hello, max_requests=3) as server, Client(server.port) as client:
        assert [client.exchange(GET).get("Connection") for _ in range(3)] == ["keep-alive", "keep-alive", "close"]
        wait_until(lambda: not server.service.connections and not server.service.listeners, "the end")


def test_draining_serves_the_queue() -> None:
    with serving(hello, max_connections=1) as server, Client(server.port) as first:
        first.exchange(GET)
        with Client(server.port) as second:
            second.send(GET)
            server.call(first.close)
            assert second.read_response().status == 200


def test_hooks() -> None:
    calls: list[Any] = []

    class Recording(Hooks):
        def before(self, connection: Any, environ: Any) -> Any:
            return connection.head.target

        def after(self, token: Any, environ: Any, response: Any) -> None:
            calls.append((token, response.status, response.sent))

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/fail":
            raise ValueError("fault")
        return hello(environ, start_response)

    with serving(app, hooks=Recording(active=True)) as server:
        send_raw(server.port, b"GET /good HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        send_raw(server.port, b"GET /fail HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        wait_until(lambda: len(calls) == 2, "both")
        assert calls[0] == ("/good", "200 OK", 5)
        assert calls[1][:2] == ("/fail", "500 Internal Server Error")
