"""The echo server over real sockets: its identifier, log, robustness and end."""

from __future__ import annotations

import signal
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.support import Client, Running, connect, fetch, free_port, running, send_raw, wait_until
from wsgi_proxy.cli import echo
from wsgi_proxy.cli.address import parse_bind


@contextmanager
def echo_process(tmp_path: Path) -> Iterator[Running]:
    port = free_port()
    command = [sys.executable, "-m", "wsgi_proxy.cli.echo", "--bind", f"127.0.0.1:{port}"]
    with running(Running(command, tmp_path), [port]) as server:
        yield server


@contextmanager
def echo_thread(response: echo.Handler) -> Iterator[int]:
    with echo.EchoServer(("127.0.0.1", 0), response) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def test_answers_its_uuid_logs_each_request_and_stops_on_sigterm(tmp_path: Path) -> None:
    with echo_process(tmp_path) as server, Client(server.port) as client:
        first = client.exchange(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert first.status == 200
        assert str(uuid.UUID(first.text)) == first.text
        # The same connection, and a body that must not be taken for the next request.
        again = client.exchange(b"GET /?q HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
        assert again.body == first.body
        assert client.exchange(b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n").status == 404
        assert client.exchange(b"GET / HTTP/1.1\r\nConnection: upgrade\r\n\r\n").body == first.body
        head = client.exchange(b"HEAD / HTTP/1.1\r\n\r\n", "HEAD")
        assert (head.get("Content-Length"), head.body) == ("36", b"")
        log = server.log().splitlines()
        assert log[0] == f"{first.text} listening on 127.0.0.1:{server.port}"
        assert log[1:3] == ['127.0.0.1 "GET / HTTP/1.1" 200 36', '127.0.0.1 "GET /?q HTTP/1.1" 200 36']
        # An open, idle connection does not hold it up.
        assert server.stop(signal.SIGTERM, deadline=5) == 0


def test_two_servers_have_two_names(tmp_path: Path) -> None:
    with echo_process(tmp_path / "a") as one, echo_process(tmp_path / "b") as two:
        assert fetch(one.port).body != fetch(two.port).body


def test_survives_an_error_in_the_handler(capsys: pytest.CaptureFixture[str]) -> None:
    def fragile(method: str, target: str) -> tuple[HTTPStatus, bytes]:
        if target == "/break":
            raise RuntimeError("broken on purpose")
        return HTTPStatus.OK, b"fine"

    with echo_thread(fragile) as port, Client(port) as client:
        assert client.exchange(b"GET /break HTTP/1.1\r\n\r\n").status == 500
        assert client.exchange(b"GET / HTTP/1.1\r\n\r\n").body == b"fine"
    assert "broken on purpose" in capsys.readouterr().err


@pytest.mark.parametrize(
    "data",
    [
        b"garbage\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET /" + b"a" * 70_000,
    ],
)
def test_what_is_no_request_is_400_and_closed(data: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with echo_thread(echo.identity("me")) as port:
        assert send_raw(port, data).startswith(b"HTTP/1.1 400 ")
        assert fetch(port).body == b"me"


def test_clients_that_leave_are_no_errors(capsys: pytest.CaptureFixture[str]) -> None:
    with echo_thread(echo.identity("me")) as port:
        for data in (b"", b"GET / HT", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab"):
            with Client(port) as client:
                client.send(data)
                client.reset()
        assert fetch(port).body == b"me"
    assert capsys.readouterr().err == ""


def test_http_1_0_is_closed_and_control_characters_are_escaped_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    with echo_thread(echo.identity("me")) as port:
        assert send_raw(port, b"GET /\x1b[31m HTTP/1.0\r\n\r\n").endswith(b"\x1b[31m\n")
    wait_until(lambda: r'"GET /\x1b[31m HTTP/1.0" 404' in capsys.readouterr().out)


def test_a_client_that_asks_for_it_is_closed() -> None:
    with echo_thread(echo.identity("me")) as port:
        assert send_raw(port, b"GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n").endswith(b"\r\n\r\nme")


def test_expect_100_continue_is_answered() -> None:
    with echo_thread(echo.identity("me")) as port, Client(port) as client:
        client.send(b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert client.read_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert client.exchange(b"ab").status == 404


def test_a_taken_port_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with echo_thread(echo.identity("me")) as port:
        connect(port).close()
        assert echo.main(["--bind", f"127.0.0.1:{port}"]) == 1
    assert (
        capsys.readouterr().err
        == f"wsgi-proxy echo: cannot listen on 127.0.0.1:{port}: Address already in use; choose another address with --bind\n"
    )


@pytest.mark.parametrize("bind", ["3000", "a:b", "a:99999", ""])
def test_a_wrong_bind_is_a_usage_error(bind: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        echo.main(["--bind", bind])
    assert stop.value.code == 2
    assert "is not ADDRESS:PORT" in capsys.readouterr().err


def test_bind_forms() -> None:
    assert parse_bind("[::1]:80") == ("::1", 80)
    assert parse_bind(":80") == ("0.0.0.0", 80)
