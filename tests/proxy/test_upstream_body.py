"""Bodies of upstreams, which settle their lease."""

from __future__ import annotations

from types import SimpleNamespace

from tests.support import Recorder
from wsgi_proxy.config import Policy, ProxySettings
from wsgi_proxy.proxy.upstream_body import Forwarded
from wsgi_proxy.response import Attempt
from wsgi_proxy.shm.private_memory import PrivateMemory
from wsgi_proxy.transport.reply import Call
from wsgi_proxy.transport.route import Route
from wsgi_proxy.transport.session import Transport
from wsgi_proxy.upstream.pool import Pool
from wsgi_proxy.upstream.pool_state import Runtime


def test_closing_settles_once() -> None:
    settings = ProxySettings()
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    with Recorder(lambda request, wire: wire.send(response)) as upstream:
        policy = Policy("least_time", options=("last_byte",))
        pool = Pool([upstream.url, upstream.url.replace("127.0.0.1", "127.0.0.2")], policy, runtime=Runtime(PrivateMemory()))
        lease, attempt = pool.lease(SimpleNamespace(tried=None)), Attempt("a")
        pool.lease(SimpleNamespace(tried=None))
        index = lease.peer.index
        transport = Transport()
        out = Call("GET", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        reply = transport.send(out, Route.of(pool.peers[0], "http", settings))
        attempt.header_time = 0.5
        body = Forwarded(reply, lease, attempt, None, settings)
        assert b"".join(body) == b"hello"
        body.close()
        body.close()
        transport.close()
    assert pool.counts.totals == [0 if number == index else 1 for number in range(2)]
    assert pool.health.standing(index).header_ms == 500 and not pool.health.standing(index).fails
    assert attempt.response_time is not None
    assert (attempt.bytes_sent, attempt.bytes_received) == (len(out.head), len(response))
    assert attempt.response_length == 5
