"""The line-up: ranks, readiness, lost weight. The pool's tests cover its use."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from wsgi_proxy.balance.peers import Peer, PeerGroup
from wsgi_proxy.balance.policies import Balancer, balancer
from wsgi_proxy.config import Policy, Server
from wsgi_proxy.shm.private_memory import PrivateMemory
from wsgi_proxy.upstream.columns import Columns
from wsgi_proxy.upstream.lineup import Lineup


class Setting:
    def __init__(self, *options: dict[str, Any], policy: str = "round_robin") -> None:
        memory = PrivateMemory()
        servers = [Server(f"10.0.0.{n}", **option) for n, option in enumerate(options)]
        self.columns = Columns(memory, "p", memory.lock("p"), servers, 0)
        peers = [Peer(server, (server.address, 80), server.address, "s") for server in servers]
        self.suspected: list[Server] = []
        self.policy = policy
        placed = self.columns.assign(peers)
        self.lineup = Lineup(placed, self.columns, self.make, lambda server, now: self.suspected.append(server))
        self.health = self.columns.health
        self.lineup.refresh(100)

    def make(self, peers: Sequence[Peer]) -> tuple[PeerGroup, Balancer]:
        group = PeerGroup(peers, self.columns.counts.totals, self.columns.health, random.Random(1), lambda: 0.0)
        return group, balancer(Policy(self.policy), group)

    def ready(self) -> list[int]:
        return [peer.index for peer in self.lineup.peers if peer.ready]


def test_two_ranks_and_the_tries_they_allow() -> None:
    setting = Setting({}, {"down": True}, {"drain": True}, {"backup": True})
    assert setting.lineup.main is not None and setting.lineup.backup is not None
    assert setting.lineup.tries_limit == 2 and not setting.lineup.single
    assert setting.ready() == [0, 3]


def test_only_backups() -> None:
    lineup = Setting({"backup": True}).lineup
    assert lineup.main is None and lineup.single


def test_a_closed_server_is_unready_until_time_opens_it() -> None:
    setting = Setting({"fail_timeout": 5.0}, {})
    setting.health.failed(0, 100)
    setting.lineup.refresh(100)
    assert setting.ready() == [1]
    assert setting.lineup.next_change == 106
    assert [server.address for server in setting.suspected] == ["10.0.0.0"]
    setting.lineup.refresh(106)
    assert setting.ready() == [0, 1]
    assert setting.lineup.peers[0].suspect
    assert setting.lineup.epoch == setting.health.epoch


def test_a_single_server_is_closed_by_checks_only() -> None:
    setting = Setting({})
    setting.health.failed(0, 100)
    setting.lineup.refresh(100)
    assert setting.ready() == [0]
    setting.health.checked(0, False, 100)
    setting.lineup.refresh(100)
    assert setting.ready() == []
    assert setting.lineup.only(setting.lineup.peers[0]) is None


def test_each_failure_takes_weight_once() -> None:
    setting = Setting({"weight": 10, "max_fails": 3}, {})
    for expected in (7, 4, 1, 0):
        setting.health.failed(0, 100)
        setting.lineup.refresh(100)
        setting.lineup.refresh(100)
        assert setting.lineup.peers[0].effective == expected


def test_dissolving_gives_the_weights_back() -> None:
    setting = Setting(*[{} for _ in range(30)])
    assert setting.lineup.main is not None
    first = setting.lineup.main.pick(None, None, 100)
    assert first is not None and first.rotation is not None
    peers = setting.lineup.dissolve()
    assert first.rotation is None and first.current == 1 - 30
    assert sum(peer.current for peer in peers) == 0
