"""Configurations of this proxy with a lot of one thing, and the cost of a request relative to the small configuration.

Rules:
- Both are measured directly after each other, with the same policy.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from . import contenders
from .measures import CPU, Turn, wrk
from .upstream import Upstreams

_LOCATIONS = "\n".join(f"location /prefix/{n}/ {{ return 204; }} location = /exact/{n} {{ return 204; }}" for n in range(1000))
_NAMES = "\n".join(
    f"server {{ listen 127.0.0.1:PORT; server_name host{n}.example *.wild{n}.example; return 204; }}" for n in range(1000)
)
CASES: dict[str, tuple[int, dict[str, str]]] = {
    "600 servers": (600, {}),
    "600 servers, round robin": (600, {"policy": ""}),
    "a zone: all workers take turns together": (6, {"policy": "least_conn; zone echo 1m;"}),
    "2,000 locations, exact and prefix": (6, {"location": _LOCATIONS}),
    "2,000 server names, exact and wildcard": (6, {"others": _NAMES}),
}
"""Title → (servers, text of the configuration)."""


def measure(folder: Path, upstreams: Upstreams, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return title → ratio of the CPU time to that with the small configuration, in each round."""
    ratios: dict[str, list[float]] = {title: [] for title in CASES}
    for _ in range(rounds):
        for title, (servers, text) in CASES.items():
            small = {"policy": text["policy"].partition(" ")[0]} if "policy" in text else {}
            cost = []
            for count, each in ((6, small), (servers, text)):
                with contenders.start(contenders.OURS, folder, upstreams, servers=count, **each) as running:
                    cost.append(wrk(running, Turn(seconds, True, folder))[CPU])
            ratios[title].append(cost[1] / cost[0])
            print(f"{title}: {cost[1]:.1f} µs, without: {cost[0]:.1f} µs", flush=True)
    return ratios


def table(ratios: dict[str, list[float]]) -> str:
    """Return the medians as a table in Markdown."""
    rows = [f"| {title} | {statistics.median(values):.2f} |" for title, values in ratios.items()]
    return "\n".join(["| with | × the cost of a request without |", "|---|---|", *rows]) + "\n"
