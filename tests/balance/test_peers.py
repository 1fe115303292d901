"""Peers and groups: eligibility."""

from __future__ import annotations

import hashlib
import random
from typing import Any

from wsgi_proxy.balance.health import Health, size
from wsgi_proxy.balance.peers import Peer, PeerGroup, without_scheme
from wsgi_proxy.config import Server


def group(*options: dict[str, Any]) -> PeerGroup:
    servers = [Server(f"s{number}", **option) for number, option in enumerate(options)]
    peers = [Peer(server, ("10.0.0.1", n), f"10.0.0.1:{n}", "s", index=n) for n, server in enumerate(servers)]
    return PeerGroup(peers, [0] * len(peers), Health([0] * (size(len(peers)) // 8), servers), random.Random(1), lambda: 0.0)


def test_the_session_id_is_the_md5_of_the_name_or_the_route() -> None:
    peer = Peer(Server("a"), ("10.0.0.1", 80), "10.0.0.1:80", "a")
    assert peer.sid == hashlib.md5(b"10.0.0.1:80").hexdigest()
    assert Peer(Server("a", route="blue"), ("10.0.0.1", 80), "10.0.0.1:80", "a").sid == "blue"


def test_who_was_tried_is_full_or_not_ready_does_not_fit() -> None:
    g = group({}, {"max_conns": 2}, {})
    first, limited, last = g.peers
    assert g.candidates(None) == [first, limited, last]
    assert g.candidates({first}) == [limited, last]
    g.conns[1] = 2
    assert not g.fits(limited, None)
    assert g.candidates(None) == [first, last]
    last.ready = False
    assert not g.fits(last, None)
    assert g.candidates(set()) == [first]


def test_without_limits_the_ready_list_is_handed_out_as_it_is() -> None:
    g = group({}, {})
    assert g.candidates(None) is g.ready
    assert all(peer.group is g for peer in g.peers)


def test_an_address_without_its_scheme() -> None:
    assert [without_scheme(a) for a in ("http://b:1/", "b:1", "unix:/x/")] == ["b:1", "b:1", "unix:/x/"]
