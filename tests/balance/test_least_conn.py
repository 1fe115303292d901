"""The method least_conn. The contract of all policies is in test_policies.py."""

from __future__ import annotations

from tests.balance.groups import Request, group
from wsgi_proxy.balance.least_conn import LeastConn
from wsgi_proxy.config import Policy


def test_least_conn_goes_by_connections_per_weight() -> None:
    g = group([4, 1])
    g.conns[:] = [3, 1]
    assert LeastConn(g, Policy()).pick(Request(), None, 0) is g.peers[0]
    g.conns[:] = [5, 1]
    assert LeastConn(g, Policy()).pick(Request(), None, 0) is g.peers[1]
