"""The start of a client connection: TLS and the PROXY protocol, with a real loop and real sockets."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import trustme

from tests.support.client import Client, send_raw
from tests.support.ports import wait_until
from tests.support.service import GET, echo, hello, serving


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def test_tls(authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with serving(echo, tls=lambda: context, keepalive_timeout=5) as server:
        with Client(server.port, tls=trusting) as client:
            body = bytes(200_000)
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + body + GET + GET)
            assert [client.read_response().body for _ in range(3)] == [body, b"", b""]
            assert client.exchange(GET).status == 200
        wait_until(lambda: not server.service.connections, "the end of the first")
        assert send_raw(server.port, b"plain text\r\n\r\n", timeout=5) == b"" or server.lines
        wait_until(lambda: not server.service.connections, "the end of the second")


def test_proxy_protocol() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = repr((environ["wsgi_proxy.connection"].proxy_protocol, environ["REMOTE_ADDR"])).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    with serving(app, proxy_protocol=True) as server:
        with Client(server.port) as client:
            client.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n" + GET)
            assert client.read_response().body == b"(('192.0.2.1', 1000, '192.0.2.2', 80), '127.0.0.1')"
            assert client.exchange(GET).status == 200
        assert send_raw(server.port, GET) == b""


class Records:
    """A TLS client that decides which records travel together."""

    def __init__(self, port: int, context: ssl.SSLContext, receive_buffer: int = 0) -> None:
        self.sock = socket.socket()
        self.sock.settimeout(30)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.connect(("127.0.0.1", port))
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def __enter__(self) -> Records:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sock.close()

    def handshake(self) -> Records:
        """Complete the handshake, but keep the last flight of the client in `outgoing`."""
        while True:
            try:
                self.tls.do_handshake()
                return self
            except ssl.SSLWantReadError:
                self.flush()
                self.feed()

    def feed(self) -> None:
        data = self.sock.recv(65536)
        assert data, "the server closed the connection"
        self.incoming.write(data)

    def flush(self) -> None:
        """Send all records that have been written, together."""
        self.sock.sendall(self.outgoing.read())

    def read_until(self, end: bytes) -> bytes:
        data = b""
        while not data.endswith(end):
            try:
                data += self.tls.read(65536)
            except ssl.SSLWantReadError:
                self.feed()
        return data


@pytest.fixture(scope="module")
def contexts(authority: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return (the server's context, the client's)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return context, trusting


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


def test_records_that_arrive_together_are_all_read(contexts: Contexts) -> None:
    """The socket tells nothing about the records that TLS holds."""
    with serving(hello, tls=lambda: contexts[0]) as server, Records(server.port, contexts[1]) as client:
        client.handshake()
        # The last flight of the handshake and the pieces of a head.
        for piece in (b"GET / HT", b"TP/1.1\r\nHo", b"st: a\r\n\r\n"):
            client.tls.write(piece)
        client.flush()
        assert client.read_until(b"hello").startswith(b"HTTP/1.1 200")
        for piece in (b"G", b"ET / HTTP/1.1\r\n", b"Host: a\r\n\r", b"\n"):
            client.tls.write(piece)
        client.flush()
        assert client.read_until(b"hello").startswith(b"HTTP/1.1 200")


def test_an_unread_body_in_many_records(contexts: Contexts) -> None:
    with serving(hello, tls=lambda: contexts[0]) as server, Records(server.port, contexts[1]) as client:
        client.handshake()
        client.tls.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n")
        client.flush()
        assert client.read_until(b"hello").startswith(b"HTTP/1.1 200")
        for _ in range(100):
            client.tls.write(b"x" * 200)
        client.tls.write(GET)
        client.flush()
        assert client.read_until(b"hello").startswith(b"HTTP/1.1 200")


def test_a_handshake_has_no_greenlet(contexts: Contexts) -> None:
    with serving(hello, tls=lambda: contexts[0]) as server, Records(server.port, contexts[1]) as client:
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.do_handshake()
        client.flush()
        # The server's flight has arrived, and it waits for the client's.
        client.feed()
        assert server.call(lambda: (len(server.service.connections), server.service.crew.busy)) == (1, 0)


def test_a_handshake_that_stops_is_ended(contexts: Contexts) -> None:
    with serving(hello, tls=lambda: contexts[0], client_header_timeout=0.3) as server:
        with socket.create_connection(("127.0.0.1", server.port), 30) as sock:
            sock.sendall(b"\x16\x03\x01")
            assert sock.recv(100) == b""
        wait_until(lambda: not server.service.connections, "the end of the connection")
        assert any("client timed out during the TLS handshake" in line for line in server.lines)


def test_a_flight_that_the_kernel_does_not_take_at_once(authority: trustme.CA) -> None:
    """A long chain of certificates and a client that is slow to read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", *(f"name-number-{number}.example" for number in range(3500))).configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with serving(hello, sock=listening, tls=lambda: context) as server:
        with Records(server.port, trusting, 4096) as client:
            with pytest.raises(ssl.SSLWantReadError):
                client.tls.do_handshake()
            client.flush()
            wait_until(lambda: server.service.crew.busy == 1, "a greenlet that sends the rest of the flight")
            client.handshake()
            client.tls.write(GET)
            client.flush()
            assert client.read_until(b"hello").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_session_tickets_arrive_without_a_request(contexts: Contexts, version: ssl.TLSVersion) -> None:
    trusting = contexts[1]
    trusting.maximum_version = version
    try:
        with serving(hello, tls=lambda: contexts[0]) as server, Records(server.port, trusting) as client:
            client.handshake().flush()
            while client.tls.session is None or not client.tls.session.has_ticket:
                with pytest.raises(ssl.SSLWantReadError):
                    client.tls.read(1)
                client.feed()
                with pytest.raises(ssl.SSLWantReadError):
                    client.tls.read(1)
            session = client.tls.session
            again = Records(server.port, trusting)
            again.tls = trusting.wrap_bio(again.incoming, again.outgoing, server_hostname="localhost", session=session)
            with again:
                again.handshake()
                again.tls.write(GET)
                again.flush()
                assert again.read_until(b"hello").startswith(b"HTTP/1.1 200")
                assert again.tls.session_reused
    finally:
        trusting.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED
