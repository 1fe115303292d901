"""`wsgi-proxy top`: frames of two readings, and the command in a terminal."""

from __future__ import annotations

import copy
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import Recorder, fetch, free_port, run_proxy
from tests.support.processes import environment
from wsgi_proxy.cli.top import frame
from wsgi_proxy.status.histogram import BOUNDS, BUCKETS


def times(**counts: int) -> dict[str, Any]:
    buckets = [0] * BUCKETS
    for name, count in counts.items():
        buckets[BOUNDS.index(float(name[1:]) / 1000)] = count
    return {"buckets": buckets, "count": sum(buckets)}


def reading() -> dict[str, Any]:
    responses = {"1xx": 0, "2xx": 0, "3xx": 0, "4xx": 0, "5xx": 0, "none": 0}
    place = {"server": "s:80", "requests": 1, "responses": responses, "latency": times()}
    peer = {
        "server": "10.0.0.1:80",
        "state": "up",
        "reason": None,
        "tries": 0,
        "failures": 0,
        "response": times(),
        "last_failure": None,
    }
    return {
        "version": "1", "uptime": 60.0, "now": 1000.0, "requests": 1, "retries": 0, "responses": responses, "latency": times(),
        "connections": {"active": 3}, "workers": [{"pid": 1, "cpu_seconds": 1.0, "memory_bytes": 50 << 20}],
        "locations": [{**place, "location": "/a"}, {**place, "location": "/b\x1b[0m"}], "upstreams": {"u": [peer]},
    }  # fmt: skip


def later() -> dict[str, Any]:
    now = copy.deepcopy(reading())
    now["now"], now["requests"], now["retries"] = 1002.0, 41, 4
    now["responses"] = {**now["responses"], "2xx": 30, "5xx": 10}
    now["latency"] = times(m10=30, m100=10)
    a, b = now["locations"]
    a["requests"], a["responses"], a["latency"] = 31, {**a["responses"], "2xx": 30}, times(m10=30)
    b["requests"], b["responses"], b["latency"] = 11, {**b["responses"], "5xx": 10}, times(m100=10)
    peer = now["upstreams"]["u"][0]
    peer.update(tries=44, failures=4, state="unavail", reason="connect() failed", response=times(m20=40))
    peer["last_failure"] = {"at": 1000, "reason": "connect() failed"}
    now["workers"][0]["cpu_seconds"] = 1.5
    return now


def test_a_frame() -> None:
    lines = list(frame(reading(), later(), "rate"))
    assert lines[0] == "wsgi_proxy 1, up 60 s, 1 workers, 3 connections"
    assert lines[1].startswith("20.0 requests/s, 25.0 % with 5xx, p50 ") and "5xx 5.0" in lines[2] and "2.0 retries/s" in lines[2]
    assert lines[3] == "CPU 25 %, memory 50 MB"
    at = lines.index(next(line for line in lines if line.endswith("LOCATION")))
    assert lines[at + 1].split()[:2] == ["15.0", "0.0"] and lines[at + 1].endswith("s:80 /a")
    assert lines[at + 2].split()[:2] == ["5.0", "5.0"] and lines[at + 2].endswith("s:80 /b?[0m")
    assert any(re.search(r"^ +22\.0 +2\.0 .* unavail +u 10\.0\.0\.1:80: connect\(\) failed$", line) for line in lines)
    assert lines[-1] == "       2 s ago  10.0.0.1:80: connect() failed"


@pytest.mark.parametrize(("order", "first"), [("rate", "/a"), ("errors", "/b"), ("latency", "/b")])
def test_the_order_of_locations(order: str, first: str) -> None:
    lines = list(frame(reading(), later(), order))
    at = lines.index(next(line for line in lines if line.endswith("LOCATION")))
    assert f" {first}" in lines[at + 1]


def test_two_readings_without_requests() -> None:
    lines = list(frame(reading(), reading(), "rate"))
    assert lines[1] == "0.0 requests/s, - with 5xx, p50 -, p90 -, p99 -"


CONFIGURATION = """
events {{}}
http {{
    upstream echo {{ server {up}; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://echo; }}
        location = /status {{ wsgi_proxy_status; }}
    }}
}}
"""


def test_in_a_terminal_and_without_one(tmp_path: Path) -> None:
    with Recorder() as up, run_proxy(CONFIGURATION.format(up=up.address, port=free_port()), tmp_path) as server:
        fetch(server.port)
        command = [sys.executable, "-m", "wsgi_proxy", "top", "-d", "0.2", "-c", str(server.folder / "nginx.conf")]
        done = subprocess.run([*command, "-n", "2"], capture_output=True, text=True, env=environment(), timeout=60)
        assert (done.returncode, done.stderr) == (0, "") and "\x1b" not in done.stdout
        assert done.stdout.count("requests/s, ") == 2 and f"echo {up.address}" in done.stdout
        outer, inner = pty.openpty()
        before = termios.tcgetattr(inner)
        with subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, env=environment()) as process:
            seen = b""

            def read_until(mark: bytes) -> None:
                nonlocal seen
                end = time.monotonic() + 60
                while mark not in seen:
                    assert time.monotonic() < end, seen
                    if select.select([outer], [], [], 1)[0]:
                        seen += os.read(outer, 65536)

            read_until(b"UPSTREAM SERVER")
            assert seen.startswith(b"\x1b[?1049h")
            os.write(outer, b"l")
            os.write(outer, b"q")
            read_until(b"\x1b[?1049l")
            assert process.wait(60) == 0
        assert termios.tcgetattr(inner) == before
        os.close(outer)
        os.close(inner)


def test_wrong_options(capsys: pytest.CaptureFixture[str]) -> None:
    from wsgi_proxy.cli.status import place_of_url
    from wsgi_proxy.cli.top import main

    place = place_of_url(f"http://127.0.0.1:{free_port()}/")
    for words in (["-d"], ["-d", "x"], ["-n", "1.5"], ["--fast"]):
        assert main(words, place) == 1 and "invalid option" in capsys.readouterr().err
    assert main([], place) == 1 and "is the proxy running?" in capsys.readouterr().err
