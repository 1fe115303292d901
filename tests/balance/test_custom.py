"""A policy from the user's code."""

from __future__ import annotations

from typing import Any

import pytest

from tests.balance.groups import Request, group
from wsgi_proxy import Pool
from wsgi_proxy.balance.custom import Custom
from wsgi_proxy.balance.policies import balancer
from wsgi_proxy.config import Server
from wsgi_proxy.errors import NoLiveUpstreams
from wsgi_proxy.exchange import Exchange


def test_the_function_gets_the_servers_that_fit_and_the_exchange() -> None:
    g, request = group([1, 1, 1]), Request()
    calls: list[Any] = []

    def choose(servers: list[Server], exchange: Any) -> Server:
        calls.append((servers, exchange))
        return servers[-1]

    made = Custom(g, choose)
    assert made.pick(request, {g.peers[2]}, 0) is g.peers[1]
    assert calls == [([g.peers[0].server, g.peers[1].server], request)]
    assert made.pick(request, set(g.peers), 0) is None and len(calls) == 1


def test_a_function_that_returns_something_else_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="not one of the servers"):
        balancer(lambda servers, exchange: Server("elsewhere"), group([1, 1])).pick(Request(), None, 0)


@pytest.mark.parametrize("servers", [["http://127.0.0.1:1"], ["http://127.0.0.1:1", "http://127.0.0.1:2"]])
def test_a_policy_that_returns_no_server_is_a_defect_in_a_pool_of_any_size(servers: list[str]) -> None:
    pool = Pool(servers, policy=lambda servers, exchange: 0)
    with pytest.raises(TypeError, match="returned 0, which is not one of the servers"):
        pool.lease(Exchange.from_environ({"REQUEST_METHOD": "GET", "wsgi.input": None, "RAW_URI": "/"}))
    none = Pool(servers, policy=lambda servers, exchange: None)
    with pytest.raises(NoLiveUpstreams):
        none.lease(Exchange.from_environ({"REQUEST_METHOD": "GET", "wsgi.input": None, "RAW_URI": "/"}))
    first = Pool(servers, policy=lambda servers, exchange: servers[0])
    lease = first.lease(Exchange.from_environ({"REQUEST_METHOD": "GET", "wsgi.input": None, "RAW_URI": "/"}))
    assert lease.peer.server.address == "http://127.0.0.1:1"
    lease.settle()
