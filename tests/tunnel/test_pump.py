"""The byte pump, in threads and on gevent's loop; real sockets."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import gevent
import greenlet
import pytest
import trustme

from tests.support.tls import Files
from tests.support.wire import on_the_loop, read_all, run_on_the_loop, tcp_pair
from wsgi_proxy.net.stream import Stream
from wsgi_proxy.tls.server import listener_context
from wsgi_proxy.tunnel.pump import splice


class Ends:
    """Both outer ends of a running tunnel: `client` and `upstream` are plain sockets."""

    def __init__(
        self, client_rest: bytes = b"", upstream_rest: bytes = b"", idle: float | None = 60.0, half_close: bool = True
    ) -> None:
        self.client, inner_client = tcp_pair()
        self.upstream, inner_upstream = tcp_pair()
        self.moved: tuple[int, int] | None = None
        self._thread = threading.Thread(
            target=self._run,
            args=(Stream.of(inner_client), Stream.of(inner_upstream), client_rest, upstream_rest, idle, half_close),
            daemon=True,
        )
        self._thread.start()

    def _run(self, *arguments: Any) -> None:
        self.moved = splice(*arguments)

    def __enter__(self) -> Ends:
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.close()
        self.upstream.close()
        self.join()

    def join(self) -> tuple[int, int]:
        self._thread.join(30)
        assert not self._thread.is_alive() and self.moved is not None
        return self.moved


def test_bytes_go_both_ways_and_the_rests_come_first() -> None:
    with Ends(b"early up ", b"early down ") as ends:
        ends.client.sendall(b"later up")
        ends.upstream.sendall(b"later down")
        ends.client.shutdown(socket.SHUT_WR)
        assert read_all(ends.upstream) == b"early up later up"
        ends.upstream.shutdown(socket.SHUT_WR)
        assert read_all(ends.client) == b"early down later down"
        assert ends.join() == (17, 21)


@pytest.mark.parametrize("first", ["client", "upstream"])
def test_half_close(first: str) -> None:
    with Ends() as ends:
        one, other = (ends.client, ends.upstream) if first == "client" else (ends.upstream, ends.client)
        one.sendall(b"question")
        one.shutdown(socket.SHUT_WR)
        assert read_all(other) == b"question"
        for _ in range(3):
            other.sendall(b"answer ")
            time.sleep(0.01)
        other.close()
        assert read_all(one) == b"answer answer answer "


@pytest.mark.parametrize("first", ["client", "upstream"])
def test_without_half_close_the_first_end_ends_the_tunnel(first: str) -> None:
    with Ends(half_close=False) as ends:
        one, other = (ends.client, ends.upstream) if first == "client" else (ends.upstream, ends.client)
        one.sendall(b"x" * 1_000_000)
        one.shutdown(socket.SHUT_WR)
        # Neither end is closed here.
        assert read_all(other) == b"x" * 1_000_000
        assert read_all(one) == b""
        assert ends.join() == ((1_000_000, 0) if first == "client" else (0, 1_000_000))


@pytest.mark.parametrize("first", ["client", "upstream"])
def test_unread_bytes_of_the_other_side_do_not_destroy_the_last_ones(first: str) -> None:
    with Ends(half_close=False) as ends:
        one, other = (ends.client, ends.upstream) if first == "client" else (ends.upstream, ends.client)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            # The first side reads nothing, so that the pump has a block in hand and more unread.
            for _ in range(1000):
                while True:
                    other.send(b"y" * 65536)
                time.sleep(0.01)
        other.settimeout(30)
        one.sendall(b"last " * 1000)
        one.shutdown(socket.SHUT_WR)
        assert read_all(other) == b"last " * 1000
        other.shutdown(socket.SHUT_WR)
        ends.join()


def test_a_reset_ends_both() -> None:
    with Ends() as ends:
        ends.upstream.sendall(b"x")
        assert ends.client.recv(1) == b"x"
        ends.upstream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        ends.upstream.close()
        try:
            assert ends.client.recv(1) == b""
        except ConnectionResetError:
            pass
        ends.join()


def test_it_ends_when_nothing_moves() -> None:
    with Ends(idle=2) as ends:
        for _ in range(6):
            ends.upstream.sendall(b"x")  # one way is enough
            assert ends.client.recv(1) == b"x"
            time.sleep(0.5)
        assert ends.client.recv(1) == b"" and ends.upstream.recv(1) == b""
        assert ends.join() == (0, 6)


def test_a_side_that_reads_nothing_is_not_read_for() -> None:
    with Ends(idle=30) as ends:
        ends.client.settimeout(0.5)
        sent = 0
        with pytest.raises(TimeoutError):
            while True:
                sent += ends.client.send(b"x" * 65536)
        assert sent < 40_000_000
        ends.client.settimeout(30)
        ends.upstream.sendall(b"the other way still works")
        assert ends.client.recv(100) == b"the other way still works"


def test_large_both_ways_at_once() -> None:
    data = os.urandom(8_000_000)
    with Ends() as ends:
        digests = {}

        def talk(name: str, sock: socket.socket) -> None:
            writer = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)))
            writer.start()
            digests[name] = hashlib.sha256(read_all(sock)).digest()
            writer.join()

        talkers = [threading.Thread(target=talk, args=(name, getattr(ends, name))) for name in ("client", "upstream")]
        for talker in talkers:
            talker.start()
        for talker in talkers:
            talker.join(30)
        assert digests == dict.fromkeys(("client", "upstream"), hashlib.sha256(data).digest())


def contexts_of(library: str, folder: Path) -> tuple[Any, ssl.SSLContext]:
    """Return (server's context, client's context); `library` is "ssl" or "pyOpenSSL"."""
    files = Files(folder)
    if library == "pyOpenSSL":
        asking = files.block("localhost", verify_client="optional", client_certificate=files.ca_path)
        return listener_context([(asking, True)]), files.client()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*files.pair("localhost"))
    return server, files.client()


@pytest.mark.parametrize("library", ["ssl", "pyOpenSSL"])
def test_a_side_under_tls(library: str, tmp_path: Path) -> None:
    server, client = contexts_of(library, tmp_path)
    data = os.urandom(1_000_000)
    outer, inner = tcp_pair()
    near, far = tcp_pair()
    done: list[tuple[int, int]] = []

    def run() -> None:
        done.append(splice(Stream.of(inner).start_tls(server, server_side=True), Stream.of(far), b"", b"", 60.0, True))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    stream = Stream.of(outer)
    stream.read_timeout = 30.0
    secured = stream.start_tls(client, "localhost")
    for message in (b"one", b"two", b"three"):
        secured.sendall(message)
        assert near.recv(100) == message
        near.sendall(message)
        assert secured.recv(100) == message
    # Records that arrive together are passed on together.
    secured.sendall(b"four ")
    secured.sendall(b"five")
    got = b""
    while len(got) < 9:
        got += near.recv(100)
    assert got == b"four five"
    secured.sendall(data)
    got = b""
    while len(got) < len(data):
        got += near.recv(65536)
    assert got == data
    near.sendall(data)
    got = b""
    while len(got) < len(data):
        got += secured.recv(65536)
    assert got == data
    near.close()
    secured.close()
    thread.join(30)
    assert done == [(len(data) + 20, len(data) + 11)]


def test_a_message_wakes_no_greenlet() -> None:
    """On the loop the hub passes a message on; a switch to the pump's greenlets would cost more than the bytes."""
    if not on_the_loop():
        pytest.skip("threads have no hub")
    others = {greenlet.getcurrent(), gevent.get_hub()}
    with Ends() as ends:
        for sock in (ends.client, ends.upstream):
            # Both directions are waiting after their first message.
            sock.sendall(b"x")
        assert ends.client.recv(1) == ends.upstream.recv(1) == b"x"
        woken: list[Any] = []
        greenlet.settrace(lambda event, args: woken.append(args[1]) if args[1] not in others else None)
        try:
            for number in range(20):
                ends.client.sendall(b"%d" % number)
                assert ends.upstream.recv(100) == b"%d" % number
                ends.upstream.sendall(b"%d" % number)
                assert ends.client.recv(100) == b"%d" % number
        finally:
            greenlet.settrace(None)
    assert woken == []
    assert ends.moved == (31, 31)


def test_a_side_under_tls_that_sends_before_it_reads() -> None:
    """The reverse direction continues while one side reads nothing: neither direction may wait for the other."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("a.example").configure_cert(server)
    authority.configure_trust(client)
    up, down = os.urandom(8_000_000), os.urandom(8_000_000)
    outer, inner = tcp_pair()
    near, far = tcp_pair()

    def run() -> None:
        splice(Stream.of(inner), Stream.of(far).start_tls(client, "a.example"), b"", b"", 5.0, True)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    found: list[bytes] = []

    def upstream() -> None:
        # It reads nothing until all it has to say is said.
        with server.wrap_socket(near, server_side=True) as secured:
            secured.sendall(down)
            found.append(read_all(secured))

    def writer() -> None:
        outer.sendall(up)
        outer.shutdown(socket.SHUT_WR)

    others = [threading.Thread(target=work, daemon=True) for work in (upstream, writer)]
    for other in others:
        other.start()
    got = bytearray()
    while len(got) < len(down):
        block = outer.recv(65536)
        assert block, f"the tunnel ended after {len(got)} bytes"
        got += block
    assert got == down
    for other in others:
        other.join(20)
    assert found == [up]
    outer.close()
    thread.join(10)


def test_all_of_it_on_the_loop() -> None:
    run_on_the_loop(__file__)
