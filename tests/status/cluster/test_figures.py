"""The cluster's figures: machines as last seen, and totals over them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from wsgi_proxy.cluster import Machine
from wsgi_proxy.status.cluster import ClusterView


class Fake:
    """The part of a membership that the view reads."""

    machine = "a"
    settings = SimpleNamespace(name="shop")

    def __init__(self, machines: list[Machine]) -> None:
        self.found: list[Machine] | None = machines

    def machines(self) -> list[Machine]:
        if self.found is None:
            raise OSError("Redis is away")
        return self.found


def figures(passed: int, pairs: int, pending: int) -> dict[str, Any]:
    zones = {"limit_req": {"slow": [passed, 0, 1, 0, 0]}, "keyval": {"k": [pairs, pending]}, "sticky": {"s": [pairs, pending]}}
    return {"version": "1.2", "requests": passed, "requests_per_second": 2.5, **zones}


def test_machines_and_totals() -> None:
    membership: Any = Fake(
        [Machine("a", "one", 100.0, 2, 0.25, figures(3, 7, 0)), Machine("b", "two", 160.0, 4, 1.5, figures(4, 8, 2))]
    )
    found = ClusterView(membership, lambda: 50.0).read(200.0)
    assert (found["name"], found["reachable"], found["machine"]) == ("shop", True, "a")
    assert found["machines"][1] == {
        "machine": "b", "host": "two", "version": "1.2", "since": 160.0, "uptime": 40.0, "workers": 4,
        "requests": 4, "requests_per_second": 2.5, "last_seen": 1.5,
    }  # fmt: skip
    decisions = {"passed": 7, "delayed": 0, "rejected": 2, "delayed_dry_run": 0, "rejected_dry_run": 0}
    assert found["zones"] == {
        "limit_req": {"slow": decisions},
        "limit_conn": {},
        "keyval": {"k": {"pairs": 8, "pending": 2}},
        "sticky": {"s": {"sessions": 8, "pending": 2}},
    }


def test_machines_stay_as_last_seen_while_redis_is_away() -> None:
    now = [50.0]
    fake = Fake([Machine("a", "one", 100.0, 2, 0.5, {})])
    membership: Any = fake
    view = ClusterView(membership, lambda: now[0])
    assert view.read(200.0)["machines"][0]["last_seen"] == 0.5
    fake.found = None
    now[0] = 60.0
    found = view.read(210.0)
    assert found["reachable"] is False and found["machines"][0]["last_seen"] == 10.5
    assert found["machines"][0]["version"] is None
    assert ClusterView(membership, lambda: 1.0).read(1.0)["machines"] == []
