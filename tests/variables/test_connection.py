"""The variables of the client's connection."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support import Client, free_port, request_bytes, run_proxy
from tests.support.routing import environ
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.variables import connection as variable_connection
from wsgi_proxy.variables.names import Names, compile_text


def exchange() -> Exchange:
    return Exchange.from_environ(environ("GET", "/", [], 8080))


def value(name: str, x: Exchange) -> str:
    return compile_text(f"${name}", Names())(x)


def test_addresses() -> None:
    assert variable_connection.packed("1.2.3.4") == "\x01\x02\x03\x04"
    assert len(variable_connection.packed("fe80::1%eth0")) == 16
    assert variable_connection.packed("junk") == variable_connection.packed("") == ""
    x = exchange()
    x.remote_addr = ""
    assert value("remote_addr", x) == "unix:"


def test_where_the_request_arrived() -> None:
    x = exchange()
    assert (value("server_addr", x), value("server_port", x)) == ("127.0.0.1", "8080")
    x.connection = SimpleNamespace(server_addr=("10.0.0.1", 81))
    assert (value("server_addr", x), value("server_port", x)) == ("10.0.0.1", "81")
    x.connection = SimpleNamespace(server_addr="/run/x.sock")
    assert (value("server_addr", x), value("server_port", x)) == ("unix:/run/x.sock", "")


def test_tcp_info_of_a_real_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted: list[socket.socket] = []
        thread = threading.Thread(target=lambda: accepted.append(listener.accept()[0]))
        thread.start()
        with socket.create_connection(listener.getsockname()):
            thread.join(30)
            x = exchange()
            x.environ["gunicorn.socket"] = accepted[0]
            assert int(value("tcpinfo_rtt", x)) > 0
            assert int(value("tcpinfo_snd_cwnd", x)) > 0
            assert value("server_port", x) == str(listener.getsockname()[1])
        accepted[0].close()


@pytest.mark.ours_alone("gunicorn parses its own connections")
def test_the_second_of_two_requests_sent_together_is_pipelined(tmp_path: Path) -> None:
    port = free_port()
    text = f"events {{}} http {{ access_log off; server {{ listen 127.0.0.1:{port}; return 200 $pipe; }} }}"
    with run_proxy(text, tmp_path), Client(port) as client:
        client.send(request_bytes("/") * 2)
        assert [client.read_response().body for _ in range(2)] == [b".", b"p"]
        assert client.exchange(request_bytes("/")).body == b"."
