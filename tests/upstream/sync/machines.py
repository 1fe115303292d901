"""Machines of one cluster in one process, each with a pool, a clock that the test moves, and rounds that the test makes."""

from __future__ import annotations

from typing import Any

from tests.support.pools import Clock, Request
from wsgi_proxy.cluster import Membership
from wsgi_proxy.config import Cluster, Policy, Server
from wsgi_proxy.shm import PrivateMemory
from wsgi_proxy.upstream import Pool, Runtime
from wsgi_proxy.upstream.sync import SyncedUpstreams


class Machine:
    """One machine with one worker and the upstream `u`."""

    def __init__(self, url: str, clock: Clock, *options: dict[str, Any], policy: str = "round_robin", ports: int = 19001) -> None:
        self.clock = clock
        self.membership = Membership(Cluster(url, "a", 30.0), PrivateMemory())
        servers = [Server(f"127.0.0.1:{ports + number}", **option) for number, option in enumerate(options)]
        self.pool = Pool(servers, Policy(policy), name="u", runtime=Runtime(PrivateMemory(), clock, sync=True))
        self.synced = SyncedUpstreams([self.pool], self.membership)

    def round(self) -> None:
        self.synced.round()

    def lease(self, tried: Any = None) -> Any:
        request = Request()
        request.tried = tried
        return self.pool.lease(request)

    def request(self, server: int, failed: bool = False) -> bool:
        """Send a request to a server; False if it may not be chosen."""
        others = {peer for number, peer in enumerate(self.pool.peers) if number != server}
        try:
            self.lease(others).settle(failed)
        except Exception as error:
            assert type(error).__name__ == "NoLiveUpstreams"
            return False
        return True

    def fails(self, server: int) -> int:
        return self.pool.health.fails(server)

    def connections(self, server: int) -> int:
        """The open connections of all machines, as this one knows them."""
        return next(count for peer, count, _, _ in self.pool.standing() if peer is self.pool.peers[server])
