"""A policy from the user's code."""

from __future__ import annotations

from typing import Any

import pytest

from tests.balance.groups import Request, group
from wsgi_proxy.balance.custom import Custom
from wsgi_proxy.balance.policies import balancer
from wsgi_proxy.config import Server


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
