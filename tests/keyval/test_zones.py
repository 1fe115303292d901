"""The zones of a configuration and their variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.limits import PrivateMemory
from wsgi_proxy.cluster import Membership
from wsgi_proxy.config import Cluster, Config, KeyvalZone
from wsgi_proxy.keyval import Keyval, Zones
from wsgi_proxy.shm import SharedMemory


def test_variables_get_their_zones() -> None:
    key: Any = lambda exchange: "k"  # noqa: E731
    variables = (Keyval(key, "a"), Keyval(key, "b"))
    zones = {name: KeyvalZone(name, 8192) for name in "ab"}
    made = Zones(Config(keyval_zones=zones, keyvals=variables), PrivateMemory(), None)
    assert [variable.table for variable in variables] == [made.by_name["a"], made.by_name["b"]]


def test_only_zones_with_sync_take_part_in_the_rounds(tmp_path: Path) -> None:
    zones = {"a": KeyvalZone("a", 8192), "b": KeyvalZone("b", 8192, sync=True)}
    memory = SharedMemory.open(str(tmp_path))
    membership = Membership(Cluster("redis://127.0.0.1:1/0"), memory)
    Zones(Config(keyval_zones=zones), PrivateMemory(), membership)
    assert len(membership.each_round) == 1
    membership.close()
