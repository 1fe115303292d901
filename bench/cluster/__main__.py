"""The command: measure, and print the table for bench/RESULTS.md."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis

from wsgi_proxy.config import Cluster

from .light import SERVERS, Machines, machines
from .whole import TRIALS, proxies

RATE, BURST, OFFERED = 100, 20, 400
TIMEOUT = 5.0
"""Seconds to wait for Redis: no decision is left to one machine, however busy this computer is."""


@contextmanager
def redis(program: str, folder: Path) -> Iterator[tuple[str, Any]]:
    """Start a server and yield its URL and a client."""
    path = folder / "redis.sock"
    command = [program, "--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        while not path.exists():
            time.sleep(0.05)
        client = Redis(unix_socket_path=str(path))
        yield f"unix://{path}", client
        client.close()
    finally:
        process.terminate()
        process.wait(30)


def cpu(client: Any) -> float:
    """Return the CPU seconds that the server has used."""
    found = client.info("cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


def admitted(counts: tuple[int, int, int], seconds: float) -> str:
    """Return the admitted requests per second beside the burst, and the error."""
    rate = (counts[0] - BURST - 1) / seconds
    undecided = f", {counts[2]} undecided" if counts[2] else ""
    return f"{rate:.1f}/s ({100 * (rate / RATE - 1):+.1f} %{undecided})"


def news(times: list[float]) -> str:
    """Return the median, the 99th percentile and the greatest of times in seconds."""
    ordered = sorted(times)
    high = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"{statistics.median(ordered) * 1000:.0f}, {high * 1000:.0f}, {ordered[-1] * 1000:.0f} ms"


def light(url: str, client: Any, count: int, seconds: float) -> dict[str, str]:
    """Return the figures of `count` light machines."""
    with machines(Cluster(url, f"light{count}", TIMEOUT), count) as made:
        idle = _idle(client, seconds)
        found = {"idle Redis, share of a core": f"{100 * idle:.1f} %"}
        before = cpu(client)
        results = made.all("limit", time.monotonic() + 1, seconds, count / OFFERED, RATE, BURST)
        counts = tuple(sum(column) for column in zip(*results, strict=True))
        found[f"admitted of {OFFERED}/s, limit {RATE}/s"] = admitted((counts[0], counts[1], counts[2]), seconds)
        found["Redis meanwhile, share of a core"] = f"{100 * (cpu(client) - before) / (seconds + 1):.1f} %"
        before, began = cpu(client), time.monotonic()
        decisions = sum(made.all("flood", time.monotonic() + 1, seconds / 4))
        used = cpu(client) - before - idle * (time.monotonic() - began)
        found["decisions per second of a Redis core"] = f"{decisions / used:,.0f}"
        found["news of a pair: median, p99, greatest"] = news(_pairs(made))
        found["news of a dead server: median, p99, greatest"] = news(_failures(made))
    return found


def _idle(client: Any, seconds: float) -> float:
    before, began = cpu(client), time.monotonic()
    time.sleep(seconds)
    return (cpu(client) - before) / (time.monotonic() - began)


def _pairs(made: Machines) -> list[float]:
    times = []
    for trial in range(TRIALS):
        source = trial % len(made)
        waiting = made.begin("see", f"k{trial}", spare=source)
        began = made.one(source, "put", f"k{trial}")
        times += [seen - began for seen in made.finish(waiting)]
    return times


def _failures(made: Machines) -> list[float]:
    times = []
    for trial in range(min(TRIALS, SERVERS - 1)):
        source = trial % len(made)
        waiting = made.begin("out", trial, spare=source)
        began = made.one(source, "fail", trial)
        times += [seen - began for seen in made.finish(waiting)]
    return times


def whole(url: str, count: int, seconds: float, folder: Path) -> dict[str, str]:
    """Return the figures of `count` whole proxies."""
    with proxies(url, count, folder, TIMEOUT, RATE, BURST) as made:
        found = {f"admitted of {OFFERED}/s, limit {RATE}/s": admitted(made.limit(seconds, OFFERED), seconds)}
        pairs = [each for trial in range(TRIALS) for each in made.news_of_a_pair(trial)]
        found["news of a pair: median, p99, greatest"] = news(pairs)
        failures = [each for trial in range(TRIALS) for each in made.news_of_a_dead_server(trial)]
        found["news of a dead server: median, p99, greatest"] = news(failures)
    return found


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=__doc__)
    parser.add_argument("--machines", type=int, default=50, help="light machines (50)")
    parser.add_argument("--proxies", type=int, default=4, help="whole proxies, and light machines beside them (4)")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds of each measurement (20)")
    parser.add_argument("--redis", default="redis-server", help="the program of the server (redis-server)")
    options = parser.parse_args()
    columns: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as name, redis(options.redis, Path(name)) as (url, client):
        if options.proxies:
            columns[f"{options.proxies} proxies"] = whole(url, options.proxies, options.seconds, Path(name))
            print(columns, file=sys.stderr, flush=True)
        for count in sorted({options.proxies, options.machines} - {0}):
            client.flushall()
            columns[f"{count} light machines"] = light(url, client, count, options.seconds)
            print(columns, file=sys.stderr, flush=True)
    rows = list(dict.fromkeys(row for column in columns.values() for row in column))
    print("| " + " | ".join(["", *columns]) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for row in rows:
        print("| " + " | ".join([row, *(column.get(row, "–") for column in columns.values())]) + " |")


if __name__ == "__main__":
    main()
