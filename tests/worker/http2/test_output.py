"""Output of a connection: joined, bounded, and sent within a timeout."""

from __future__ import annotations

import pytest

from tests.support.frames import PREFACE, FrameClient, fields, settings
from tests.support.ports import wait_until
from wsgi_proxy.worker.http2 import output
from wsgi_proxy.worker.http2.connection import Http2Connection
from wsgi_proxy.worker.http2.frames import ConnectionFault

from .support import serving_http2


def test_frames_of_one_round_leave_together() -> None:
    """Ten responses to requests that came together are one read for the client."""
    with serving_http2() as (server, _), FrameClient(server.port) as client:
        assert client.alive()
        client.send(b"".join(_request(client, stream) for stream in range(1, 21, 2)))
        first = client.sock.recv(65536, 0x40)
        assert first.count(b"hello") == 10
        client.buffer += first


def _request(client: FrameClient, stream: int) -> bytes:
    block = client.block(fields())
    return len(block).to_bytes(3, "big") + b"\1\5" + stream.to_bytes(4, "big") + block


def test_credit() -> None:
    with serving_http2() as (server, _), FrameClient(server.port, PREFACE + settings()) as client:
        assert client.alive()
        (connection,) = server.service.connections
        assert isinstance(connection, Http2Connection)

        def use() -> None:
            for _ in range(190):
                connection.charge(output.RESET_COST)
            connection.gain(1e9)
            for _ in range(199):
                connection.charge(output.RESET_COST)
            with pytest.raises(ConnectionFault) as caught:
                for _ in range(100):
                    connection.charge(output.RESET_COST)
            assert caught.value.code == 11

        server.call(use)


def test_streams_that_were_reset_here_are_remembered_within_bounds() -> None:
    with serving_http2() as (server, _), FrameClient(server.port) as client:
        assert client.alive()
        (connection,) = server.service.connections
        assert isinstance(connection, Http2Connection)
        for stream in range(1, 9001, 2):
            server.call(lambda stream=stream: connection.ignore(stream))
        assert len(connection._lenient) == 1024 and connection._lenient_below == 9000 - 2048 - 1


def test_a_connection_that_is_closed_takes_nothing() -> None:
    with serving_http2() as (server, _), FrameClient(server.port) as client:
        assert client.alive()
        (connection,) = server.service.connections
        assert isinstance(connection, Http2Connection)
        server.call(connection.close)
        server.call(lambda: connection.write(b"x"))
        assert connection._queued == 0 and client.ends()
        wait_until(lambda: not server.service.connections, "the end", 30)
