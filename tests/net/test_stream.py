"""stream: one contract for threads and greenlets; test_tls_stream has it under TLS."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from wsgi_proxy.net.gevent_stream import GreenStream
from wsgi_proxy.net.plain_stream import PlainStream
from wsgi_proxy.net.stream import Stream, unsent

Runner = Callable[[Callable[[], Any]], Callable[[], Any]]


def in_thread(work: Callable[[], Any]) -> Callable[[], Any]:
    """Start `work` in a thread; a call of the result returns its value or raises its exception."""
    box: list[Any] = []

    def run() -> None:
        try:
            box.append((work(), None))
        except BaseException as fault:
            box.append((None, fault))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def result() -> Any:
        thread.join(30)
        assert box, "the thread still runs"
        value, fault = box[0]
        if fault is not None:
            raise fault
        return value

    return result


def in_greenlet(work: Callable[[], Any]) -> Callable[[], Any]:
    """Start `work` in a greenlet, which has run once on return; the result is as for `in_thread`."""
    greenlet = gevent.spawn(_box, work)
    gevent.sleep(0)

    def result() -> Any:
        value, fault = greenlet.get(timeout=30)
        if fault is not None:
            raise fault
        return value

    return result


def _box(work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return work(), None
    except BaseException as fault:
        return None, fault


@pytest.fixture(params=[(PlainStream, in_thread), (GreenStream, in_greenlet)], ids=["thread", "greenlet"])
def mode(request: pytest.FixtureRequest) -> tuple[type[Stream], Runner]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def kind(mode: tuple[type[Stream], Runner]) -> type[Stream]:
    return mode[0]


@pytest.fixture
def start(mode: tuple[type[Stream], Runner]) -> Runner:
    return mode[1]


@pytest.fixture
def pair(kind: type[Stream]) -> Iterator[tuple[Stream, socket.socket]]:
    """Yield a stream, and its peer as a socket."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(30)
    stream = kind(ours)
    yield stream, theirs
    stream.close()
    theirs.close()


def test_bytes_both_ways(pair: Any, start: Runner) -> None:
    stream, peer = pair
    received = start(lambda: stream.recv(100))
    peer.sendall(b"hello")
    assert received() == b"hello"
    start(lambda: stream.sendmsg([b"a", bytearray(b"b"), memoryview(b"cd")]))()
    start(lambda: stream.sendall(memoryview(b"ef")))()
    assert peer.recv(100) == b"abcdef"
    peer.shutdown(socket.SHUT_WR)
    assert start(lambda: stream.recv(100))() == b""


def test_recv_into(pair: Any, start: Runner) -> None:
    stream, peer = pair
    buffer = bytearray(4)
    count = start(lambda: stream.recv_into(buffer))
    peer.sendall(b"abcdef")
    assert count() == 4 and buffer == b"abcd"


def test_a_large_send_waits_for_the_reader(pair: Any, start: Runner) -> None:
    stream, peer = pair
    block = os.urandom(1 << 20)
    sent = start(lambda: stream.sendmsg([block, block[:1000], block]))
    read = in_thread(lambda: b"".join(iter(lambda: peer.recv(65536), b"")))
    sent()
    stream.shutdown(socket.SHUT_WR)
    assert read() == block + block[:1000] + block


def test_read_timeout(pair: Any, start: Runner) -> None:
    stream, peer = pair
    stream.read_timeout = 0.05
    with pytest.raises(TimeoutError):
        start(lambda: stream.recv(1))()
    # The stream still works.
    peer.sendall(b"x")
    assert start(lambda: stream.recv(1))() == b"x"


def test_the_timer_left_from_a_short_wait_does_not_cut_a_longer_one(pair: Any, start: Runner) -> None:
    stream, peer = pair
    stream.read_timeout = 1.0
    peer.sendall(b"x")
    assert start(lambda: stream.recv(1))() == b"x"
    waiting = start(lambda: stream.recv(1))
    peer.sendall(b"x")
    assert waiting() == b"x"
    stream.read_timeout = 30
    waiting = start(lambda: stream.recv(1))
    gevent.sleep(1.2)
    peer.sendall(b"y")
    assert waiting() == b"y"


def test_write_timeout(pair: Any, start: Runner) -> None:
    stream, _ = pair
    stream.write_timeout = 0.05
    with pytest.raises(TimeoutError):
        start(lambda: stream.sendall(bytes(10 << 20)))()


def test_readable_and_peer_closed(pair: Any, start: Runner) -> None:
    stream, peer = pair
    assert not stream.readable() and not stream.peer_closed()
    assert stream.recv_nowait(10) is None
    peer.sendall(b"x")
    start(stream.wait_readable)()
    assert stream.readable() and not stream.peer_closed()
    assert stream.recv_nowait(10) == b"x"
    assert not stream.stirred()
    peer.close()
    start(stream.wait_readable)()
    assert stream.peer_closed()
    assert stream.recv_nowait(10) == b""


def test_close_wakes_a_waiting_reader(pair: Any, start: Runner) -> None:
    stream, _ = pair
    waiting = start(lambda: stream.recv(1))
    gevent.sleep(0.05)
    stream.close()
    if isinstance(stream, GreenStream):
        with pytest.raises(ConnectionAbortedError):
            waiting()
    else:
        assert waiting() == b""
    assert stream.fileno() == -1
    stream.close()


def test_a_reset_is_an_error_and_shutdown_after_it_is_not(kind: type[Stream], start: Runner) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = start(lambda: kind.connect(server.getsockname()))()
        peer, _ = server.accept()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        with pytest.raises(ConnectionResetError):
            start(lambda: stream.recv(1))()
        stream.shutdown(socket.SHUT_WR)
        stream.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_connect(kind: type[Stream], start: Runner, host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = start(lambda: kind.connect((host, server.getsockname()[1]), 5, source="127.0.0.1"))()
        peer, _ = server.accept()
        assert stream.getsockname() == peer.getpeername()
        with socket.socket(fileno=os.dup(stream.fileno())) as raw:
            assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        peer.sendall(b"hi")
        assert start(lambda: stream.recv(10))() == b"hi"
        stream.close()
        peer.close()


def test_connect_to_a_unix_socket(kind: type[Stream], start: Runner, tmp_path: Any) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        start(lambda: kind.connect(path, 30))().close()
    with pytest.raises(ConnectionRefusedError):
        start(lambda: kind.connect(path, 30))()


def test_connect_refused_and_late(kind: type[Stream], start: Runner) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        # A full backlog: the kernel drops further handshakes, so connecting never ends.
        full = [socket.socket() for _ in range(3)]
        for sock in full:
            sock.setblocking(False)
            sock.connect_ex(address)
        with pytest.raises(TimeoutError):
            start(lambda: kind.connect(address, 0.1))()
        for sock in full:
            sock.close()
    with pytest.raises(ConnectionRefusedError):
        start(lambda: kind.connect(address, 1))()


def test_sendfile(pair: Any, start: Runner, tmp_path: Any) -> None:
    stream, peer = pair
    content = os.urandom(600_000)
    (tmp_path / "f").write_bytes(content)
    with open(tmp_path / "f", "rb") as file:
        sent = start(lambda: stream.sendfile(file.fileno(), 100, 599_000))
        read = in_thread(lambda: b"".join(iter(lambda: peer.recv(65536), b"")))
        sent()
        with pytest.raises(EOFError):
            start(lambda: stream.sendfile(file.fileno(), 599_900, 200))()
        stream.shutdown(socket.SHUT_WR)
    assert read() == content[100:599_100] + content[599_900:]


def test_detach_keeps_the_connection(pair: Any) -> None:
    stream, peer = pair
    with socket.socket(fileno=stream.detach()) as raw:
        raw.sendall(b"still here")
    assert peer.recv(100) == b"still here"


def test_unsent() -> None:
    buffers = [b"abc", b"", b"def"]
    assert unsent(buffers, 0) == [b"abc", b"def"]
    assert [bytes(part) for part in unsent(buffers, 4)] == [b"ef"]
    assert unsent(buffers, 6) == []


def test_the_mode_follows_the_patching() -> None:
    code = "from gevent import monkey; monkey.patch_all()\n" * 2 + (
        "import socket; from wsgi_proxy.net.stream import Stream\n"
        "a, b = socket.socketpair(); s = Stream.of(a); b.send(b'x'); assert s.recv(1) == b'x'\n"
        "print(type(s).__name__); s.close(); b.close()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "GreenStream", done.stderr
    ours, theirs = socket.socketpair()
    assert type(Stream.of(ours)) is PlainStream
    ours.close()
    theirs.close()
