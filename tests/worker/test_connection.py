"""connection: heads, keep-alive, pipelining, limits, timeouts and ends, with a real loop and real sockets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import gevent
import pytest

from tests.support.client import Client, send_raw
from tests.support.ports import wait_until
from tests.support.service import GET, echo, hello, serving
from wsgi_proxy.worker.service import Hooks


def deaf(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer without reading the body."""
    start_response("200 OK", [("Content-Length", "4")])
    return [b"deaf"]


def test_a_connection_is_kept_and_counted() -> None:
    seen: list[int] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        seen.append(environ["wsgi_proxy.connection"].requests)
        return hello(environ, start_response)

    with serving(app, keepalive_requests=3) as server, Client(server.port) as client:
        responses = [client.exchange(GET) for _ in range(3)]
        assert [response.get("Connection") for response in responses] == ["keep-alive", "keep-alive", "close"]
        assert client.read_all() == b"" and seen == [1, 2, 3]


@pytest.mark.parametrize(
    ("request_", "kept"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "close"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n", "close"),
        (b"GET / HTTP/1.0\r\n\r\n", "close"),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "keep-alive"),
    ],
)
def test_what_the_client_says_of_the_connection(request_: bytes, kept: str) -> None:
    with serving(hello) as server, Client(server.port) as client:
        assert client.exchange(request_).get("Connection") == kept
        if kept == "close":
            assert client.read_all() == b""


def until(go: list[bool]) -> None:
    """Block a request in its greenlet until the client's thread releases it."""
    while not go:
        gevent.sleep(0.005)
    go.clear()


def test_pipelined_requests_are_answered_in_order() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        gevent.sleep(0.01)
        body = environ["RAW_URI"].encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    with serving(app) as server, Client(server.port) as client:
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(20)) + b"GET /half HTTP/1.1\r\n")
        assert [client.read_response().body for _ in range(20)] == [b"/%d" % n for n in range(20)]
        client.send(b"Host: a\r\n\r\n")
        assert client.read_response().body == b"/half"


@pytest.mark.parametrize("early", [b"G", b"GET /half HTTP/1.1\r\n", b"\r\n"])
def test_a_head_that_begins_while_the_request_before_is_served(early: bytes) -> None:
    go: list[bool] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        until(go)
        return hello(environ, start_response)

    rest = b"Host: a\r\n\r\n" if b"half" in early else GET if early == b"\r\n" else GET[1:]
    with serving(app) as server, Client(server.port) as client:
        # Bytes that arrive with the request are in the buffer; later ones stop the watcher.
        for first, later in ((GET + early, b""), (GET, early), (GET + early[:1], early[1:])):
            client.send(first)
            wait_until(lambda: server.service.crew.busy, "the request to begin")
            client.send(later)
            # The loop sees it first; then the request may end.
            time.sleep(0.05)
            go.append(True)
            assert client.read_response().body == b"hello"
            go.append(True)
            client.send(rest)
            assert client.read_response().body == b"hello"


def test_a_pipelined_body_and_what_is_behind_it() -> None:
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\n"
    with serving(echo) as server, Client(server.port) as client:
        client.send(post + chunked + GET)
        assert [client.read_response().body for _ in range(3)] == [b"abc", b"def", b""]


def test_a_head_in_single_bytes() -> None:
    with serving(hello) as server, Client(server.port) as client:
        for byte in GET:
            client.send(bytes([byte]))
        assert client.read_response().body == b"hello"


def test_an_empty_line_before_a_request_is_ignored() -> None:
    with serving(hello) as server:
        assert b"200 OK" in send_raw(server.port, b"\r\n" + GET.replace(b"Host", b"Connection: close\r\nHost"))


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /" + b"a" * 9000, 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + b"a" * 9000 + b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-A: 1234567890\r\n" * 3000 + b"\r\n", 400),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(data: bytes, status: int) -> None:
    with serving(hello) as server:
        raw = send_raw(server.port, data)
        assert raw.startswith(b"HTTP/1.1 %d " % status) and raw.endswith(b"</html>\r\n"), raw
        assert b"\r\nConnection: close\r\n" in raw
        wait_until(lambda: not server.service.connections, "the connection to end")
        assert len(server.lines) == 1, server.lines


def test_a_refusal_is_readable_though_more_was_sent() -> None:
    with serving(hello) as server, Client(server.port) as client:
        client.send(b"garbage\r\n\r\n" + b"x" * 500_000)
        assert client.read_response().status == 400


@pytest.mark.parametrize("data", [GET, GET.replace(b"GET", b"POST", 1)])
def test_a_request_that_crosses_the_end_of_the_connection_resets_nothing(data: bytes) -> None:
    """A client that does not know yet that the connection ends may send more, and must still get its response."""
    with serving(hello, keepalive_requests=1) as server, Client(server.port) as client:
        client.send(data)
        client.read_head()
        client.read_until(b"hello")
        client.send(GET)
        wait_until(lambda: server.service.connections, "the connection to linger")
        client.send(GET)
        assert client.read_all() == b""
        client.close()
        wait_until(lambda: not server.service.connections, "the client's end to be seen")


def test_a_client_that_ends_the_connection_itself_is_not_waited_for() -> None:
    with serving(hello) as server, Client(server.port) as client:
        server.listener.settings.lingering_timeout = 60.0
        client.send(GET.replace(b"Host", b"Connection: close\r\nHost"))
        assert client.read_until(b"hello")
        wait_until(lambda: not server.service.connections, "the connection to be closed")


def test_a_draining_worker_does_not_linger_for_long() -> None:
    go: list[bool] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        until(go)
        return hello(environ, start_response)

    with serving(app) as server, Client(server.port) as client:
        server.listener.settings.lingering_timeout = 60.0
        client.send(GET)
        wait_until(lambda: server.service.crew.busy, "the request to begin")
        server.call(server.service.drain)
        go.append(True)
        assert client.read_response().get("Connection") == "close" and client.read_all() == b""
        # The client stays; its connection is closed after a moment.
        wait_until(lambda: not server.service.connections, "the connection to be closed")


def test_a_slow_head_is_answered_408_and_silence_is_closed() -> None:
    with serving(hello, client_header_timeout=0.1) as server:
        with Client(server.port) as client:
            client.send(b"GET / HTTP/1.1\r\nHost")
            assert client.read_response().status == 408
            assert client.read_all() == b""
        assert send_raw(server.port, b"") == b""


def test_an_idle_connection_ends_after_keepalive_timeout() -> None:
    with serving(hello, keepalive_timeout=0.1) as server, Client(server.port) as client:
        assert client.exchange(GET).body == b"hello"
        assert client.read_all() == b""


def test_a_connection_older_than_keepalive_time_is_not_kept() -> None:
    with serving(hello, keepalive_time=1.0) as server, Client(server.port) as client:
        assert client.exchange(GET).get("Connection") == "keep-alive"
        for connection in server.service.connections:
            connection.started -= 3.0
        assert client.exchange(GET).get("Connection") == "close"


def test_keepalive_timeout_0_closes() -> None:
    with serving(hello, keepalive_timeout=0) as server, Client(server.port) as client:
        assert client.exchange(GET).get("Connection") == "close"


def test_a_slow_body_is_answered_408() -> None:
    with serving(echo, client_body_timeout=0.1) as server, Client(server.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        response = client.read_response()
        assert (response.status, response.get("Connection")) == (408, "close")


def test_a_broken_chunk_is_answered_400() -> None:
    with serving(echo) as server, Client(server.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n")
        assert client.read_response().status == 400
        assert client.read_all() == b""


def test_a_small_unread_body_is_discarded_and_the_connection_kept() -> None:
    with serving(deaf) as server, Client(server.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n" + b"x" * 100)
        assert client.read_response().get("Connection") == "keep-alive"
        client.send(b"x" * 9900 + GET)
        assert client.read_response().body == b"deaf"


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 9000000", b"Transfer-Encoding: chunked", b"Content-Length: 5\r\nExpect: 100-continue"]
)
def test_an_unread_body_that_is_large_or_awaited_ends_the_connection(framing: bytes) -> None:
    with serving(deaf) as server, Client(server.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n")
        if b"Expect" not in framing:
            client.send(b"1000\r\n" + b"x" * 100_000)
        response = client.read_response()
        assert (response.body, response.get("Connection"), response.interim) == (b"deaf", "close", [])
        assert client.read_all() == b""


def test_100_continue_is_sent_when_the_application_reads() -> None:
    with serving(echo) as server, Client(server.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"abc")
        assert client.read_response().body == b"abc"
        assert client.exchange(GET).status == 200


def test_an_application_that_fails_is_a_500_and_its_body_a_cut() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/early":
            raise ValueError("early")
        start_response("200 OK", [] if environ["PATH_INFO"] == "/chunked" else [("Content-Length", "10")])
        return failing()

    def failing() -> Iterable[bytes]:
        yield b"abc"
        raise ValueError("late")

    with serving(app) as server:
        assert send_raw(server.port, GET.replace(b"/ ", b"/early ", 1)).startswith(b"HTTP/1.1 500 ")
        assert any("ValueError: early" in line for line in server.lines)
        for path in (b"/chunked", b"/length"):
            with Client(server.port) as client:
                response = client.exchange(GET.replace(b"/ ", path + b" ", 1))
                assert not response.complete and response.body == b"abc"
        assert sum("the response to" in line and "Traceback" in line and "ValueError: late" in line for line in server.lines) == 2
        with Client(server.port) as client:
            client.send(b"GET /chunked HTTP/1.0\r\n\r\n")
            # The end of the connection frames the body, so only a reset shows that it is truncated.
            with pytest.raises(ConnectionResetError):
                client.read_all()


def test_a_fault_of_a_hook_is_answered_as_one_of_the_application() -> None:
    class Faulty(Hooks):
        def before(self, connection: Any, environ: Any) -> Any:
            raise ValueError("defect of a hook")

    with serving(hello, hooks=Faulty(active=True)) as server:
        assert send_raw(server.port, GET).startswith(b"HTTP/1.1 500 ")
        wait_until(lambda: any("defect of a hook" in line for line in server.lines), "the line in the log")


def test_draining_answers_what_is_on_its_way_and_closes_what_is_idle() -> None:
    with serving(hello) as server, Client(server.port) as busy, Client(server.port) as idle:
        for client in (busy, idle):
            assert client.exchange(GET).get("Connection") == "keep-alive"
        server.call(server.service.drain)
        assert busy.exchange(GET).get("Connection") == "close"
        assert idle.read_all() == b""
        wait_until(lambda: not server.service.connections, "the connections to end")


def test_max_connections_leaves_the_rest_in_the_queue() -> None:
    with serving(hello, max_connections=2) as server:
        clients = [Client(server.port) for _ in range(4)]
        assert clients[0].exchange(GET).status == clients[1].exchange(GET).status == 200
        for client in clients[2:]:
            client.send(GET)
        wait_until(lambda: len(server.service.connections) == 2, "two connections")
        clients[0].close()
        clients[1].close()
        assert [client.read_response().status for client in clients[2:]] == [200, 200]
        for client in clients[2:]:
            client.close()


def test_idle_connections_hold_no_greenlet() -> None:
    with serving(hello) as server:
        clients = [Client(server.port) for _ in range(50)]
        for client in clients:
            client.exchange(GET)
        # The response arrives shortly before the greenlet is parked.
        wait_until(lambda: server.service.crew.busy == 0, "the last request to end")
        assert len(server.service.crew._free) == 1
        for client in clients:
            client.close()
        wait_until(lambda: not server.service.connections, "the connections to end")
