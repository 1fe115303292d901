"""Opening connections: every failure has nginx's message, and no socket stays open."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path

import pytest

from tests.support import free_port
from tests.support.recorder import Recorder, Wire
from wsgi_proxy.config import ProxySettings, UpstreamTLS
from wsgi_proxy.errors import ConnectFailed, UpstreamTimeout
from wsgi_proxy.transport.connect import describe, open_stream
from wsgi_proxy.transport.route import Route


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_port_where_nobody_listens() -> None:
    with pytest.raises(ConnectFailed, match=r"connect\(\) failed \(111: Connection refused\) while connecting") as caught:
        open_stream(Route(("127.0.0.1", free_port())))
    assert not caught.value.sent and caught.value.status == 502


def test_a_path_where_nothing_is(tmp_path: Path) -> None:
    before = open_files()
    with pytest.raises(ConnectFailed, match=r"\(2: No such file or directory\)"):
        open_stream(Route(str(tmp_path / "none")))
    assert open_files() == before


def test_keepalive_of_the_socket() -> None:
    with Recorder() as upstream:
        for wanted in (False, True):
            stream = open_stream(Route((upstream.host, upstream.port), settings=ProxySettings(socket_keepalive=wanted)))
            with socket.socket(fileno=os.dup(stream.fileno())) as sock:
                assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) == wanted
            stream.close()


def test_a_handshake_with_somebody_who_does_not_speak_tls() -> None:
    def plain(wire: Wire) -> None:
        wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        wire.close()

    with Recorder(on_connect=plain) as upstream:
        route = Route((upstream.host, upstream.port), tls=UpstreamTLS(), server_name="localhost")
        with pytest.raises(ConnectFailed, match="SSL_do_handshake.* while SSL handshaking to upstream") as caught:
            open_stream(route)
        assert not caught.value.sent


def test_a_handshake_that_does_not_end() -> None:
    ended = threading.Event()

    def silent(wire: Wire) -> None:
        ended.wait(30)

    with Recorder(on_connect=silent) as upstream:
        route = Route((upstream.host, upstream.port), tls=UpstreamTLS(), settings=ProxySettings(connect_timeout=0.1))
        before = open_files()
        with pytest.raises(UpstreamTimeout, match="while SSL handshaking"):
            open_stream(route)
        ended.set()
        assert open_files() <= before + 1


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EPIPE, "x"), "send() failed (32: Broken pipe)"),
        (OSError("no number"), "send() failed (no number)"),
    ],
)
def test_words(error: OSError, text: str) -> None:
    assert describe("send()", error).startswith(text)
