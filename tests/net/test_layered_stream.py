"""Layered streams: the lower stream's descriptor, address and waits."""

from __future__ import annotations

import socket

import pytest

from wsgi_proxy.net.layered_stream import LayeredStream
from wsgi_proxy.net.stream import Stream


def test_a_layer_has_the_descriptor_and_the_address_of_the_lower_stream() -> None:
    one, two = socket.socketpair()
    with two:
        lower = Stream.of(one)
        lower.read_timeout, lower.write_timeout = 3.0, 4.0
        layer = LayeredStream(lower)
        assert (layer.read_timeout, layer.write_timeout, layer.plain) == (3.0, 4.0, False)
        assert layer.fileno() == lower.fileno() >= 0
        assert layer.getsockname() == lower.getsockname()
        with socket.socket(fileno=layer.detach()) as kept:
            assert lower.fileno() == layer.fileno() == -1
            two.sendall(b"x")
            assert kept.recv(1) == b"x"


def test_a_wait_uses_the_timeout_of_the_layer() -> None:
    one, two = socket.socketpair()
    with two:
        layer = LayeredStream(Stream.of(one))
        while layer.lower.send_nowait(bytes(65536)):
            pass
        layer.write_timeout = 0.01
        with pytest.raises(TimeoutError):
            layer.wait_writable()
        assert layer.lower.write_timeout == 0.01
        layer.lower.close()
