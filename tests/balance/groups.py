"""Requests and groups of peers for the tests of the policies."""

from __future__ import annotations

import random
from typing import Any

from tests.support.pools import Clock
from wsgi_proxy.balance.health import Health, size
from wsgi_proxy.balance.peers import Peer, PeerGroup
from wsgi_proxy.config import Server


class Request:
    def __init__(self, number: int = 0) -> None:
        self.remote_addr = ".".join(str(part) for part in random.Random(number).choices(range(1, 255), k=4))
        self.number = number
        self.tried: set[Any] | None = None


def group(weights: list[int], clock: Clock | None = None, **options: Any) -> PeerGroup:
    servers = [Server(f"10.0.0.{number}:80", weight=weight, **options) for number, weight in enumerate(weights)]
    peers = [Peer(server, (f"10.0.0.{n}", 80), server.address, "s", index=n) for n, server in enumerate(servers)]
    health = Health([0] * (size(len(peers)) // 8), servers)
    return PeerGroup(peers, [0] * len(peers), health, random.Random(5), clock or Clock())
