"""limit_req and limit_conn beside real nginx: one configuration, the same arrivals, with one and with four workers.

Every request of a schedule is sent to both servers in the same moment, on connections opened before. These must agree: the
requests let in, delayed and refused, and the excess counted, which is the delay. Both servers read their
own clock when a request reaches them, so on a busy machine a schedule may be repeated: it must agree once.
"""

from __future__ import annotations

import os
import re
import select
import selectors
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Recorded, Recorder, Running, Wire, connect, free_port, reply, run_nginx, run_proxy, wait_until

PLAYS = [1, 1, 1, *[4] * 5, *[10] * 3, *[30] * 2]
"""The number of times that a schedule may be repeated, each time slower, until both agree. A busy machine changes
the times, and so the results."""
TOLERANCE = 0.010
"""Seconds that a delay may differ at full speed."""

RATES = {"r4": 4, "r10": 10, "r50": 50, "r2": 2}
#: location: its limit_req lines, and the times in ms at which requests come, chosen away from the moments that decide.
SCHEDULES: dict[str, tuple[str, list[int]]] = {
    "strict": ("limit_req zone=r4;", [0, 100, 190, 330, 420, 500, 700, 1000]),
    "burst": ("limit_req zone=r10 burst=4;", [0, 20, 40, 60, 80, 95, 260, 290, 480, 500, 510, 1000]),
    "nodelay": ("limit_req zone=r10 burst=4 nodelay;", [0, 10, 20, 30, 40, 55, 150, 170, 330, 350, 360, 1000]),
    "delay": ("limit_req zone=r10 burst=5 delay=2;", [0, 10, 20, 30, 40, 50, 60, 250, 280, 420, 440, 1100]),
    "several": (
        "limit_req zone=r50 burst=2 nodelay; limit_req zone=r4 burst=3;",
        [0, 5, 10, 14, 50, 100, 150, 380, 640, 650, 900],
    ),
    "dry": ("limit_req zone=r2 burst=1; limit_req_dry_run on;", [0, 30, 60, 90, 400, 800]),
}


def configuration(port: int, folder: Path, workers: int, upstream: str) -> str:
    zones, places = "", ""
    for slower in sorted(set(PLAYS)):
        for name, rate in RATES.items():
            zones += f"limit_req_zone $arg_k zone={name}x{slower}:1m rate={rate * 60 // slower}r/m;\n"
        for name, (lines, _) in SCHEDULES.items():
            lines = re.sub(r"zone=(\w+)", rf"zone=\1x{slower}", lines)
            places += f"location = /{slower}/{name} {{ alias {folder}/{name}; {lines} }}\n"
    return f"""
worker_processes {workers};
error_log stderr info;
events {{ worker_connections 512; }}
http {{
    access_log off;
    {zones}
    limit_conn_zone $arg_k zone=conns:1m;
    limit_conn_zone $arg_s zone=sites:1m;
    server {{
        listen 127.0.0.1:{port};
        add_header X-Req $limit_req_status always;
        add_header X-Conn $limit_conn_status always;
        {places}
        location /held {{ limit_conn conns 3; limit_conn sites 5; limit_conn_status 429; proxy_pass http://{upstream}; }}
        location /loose {{ limit_conn conns 1; limit_conn_dry_run on; proxy_pass http://{upstream}; }}
    }}
}}
"""


class Held:
    """An upstream whose answers wait until they are let go."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.came: list[str] = []
        """The targets of the requests that came."""

    def __call__(self, request: Recorded, wire: Wire) -> bytes | None:
        self.came.append(request.target)
        self.gate.wait(30)
        return reply(b"ok")


@pytest.fixture(scope="module", params=[1, 4], ids=["one-worker", "four-workers"])
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Running], Held]]:
    """[nginx, ours], each with as many workers, and the upstream that both have."""
    folder = tmp_path_factory.mktemp("limits")
    for name in SCHEDULES:
        (folder / name).write_text("ok")
    held = Held()
    with (
        Recorder(held) as upstream,
        run_nginx(configuration(free_port(), folder, request.param, upstream.address), folder) as nginx,
        run_proxy(configuration(free_port(), folder, request.param, upstream.address), folder) as ours,
    ):
        yield [nginx, ours], held
        held.gate.set()


class Arrival:
    """A request for both servers, on connections that stand; `answers` are (status, X-Req, X-Conn) of each."""

    def __init__(self, servers: list[Running], target: str) -> None:
        self.data = f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        self.socks = [connect(server.port) for server in servers]
        self.responses: list[tuple[int, str, str] | None] = [None] * len(servers)

    def send(self) -> None:
        for sock in self.socks:
            sock.sendall(self.data)

    def is_held(self, number: int, held: Held) -> bool:
        """Send to one server, and wait until the request is at the upstream (True) or is answered."""
        before = len(held.came)
        self.socks[number].sendall(self.data)
        wait_until(lambda: len(held.came) > before or select.select([self.socks[number]], [], [], 0)[0], "a decision")
        return len(held.came) > before

    def read(self, number: int) -> None:
        head = self.socks[number].recv(65536).decode("latin-1")
        status = re.match(r"HTTP/1\.1 (\d+) ", head)
        assert status, head
        shown = [re.search(rf"^X-{name}: (\w+)\r$", head, re.MULTILINE) for name in ("Req", "Conn")]
        req, conn = (found[1] if found else "" for found in shown)
        self.responses[number] = (int(status[1]), req, conn)


def play(servers: list[Running], key: str, slower: int) -> dict[str, list[Arrival]]:
    """Every schedule at once, each with its own key: the arrivals, answered."""
    plan: list[tuple[float, Arrival]] = []
    arrivals: dict[str, list[Arrival]] = {}
    for number, (name, (_, times)) in enumerate(SCHEDULES.items()):
        # Schedules that begin apart do not send in the same moment.
        made = [Arrival(servers, f"/{slower}/{name}?k={key}-{name}") for _ in times]
        arrivals[name] = made
        plan += [((at + 3 * number) * slower / 1000, arrival) for at, arrival in zip(times, made, strict=True)]
    plan.sort(key=lambda item: item[0])
    with selectors.DefaultSelector() as selector:
        for _, arrival in plan:
            for number, sock in enumerate(arrival.socks):
                selector.register(sock, selectors.EVENT_READ, (arrival, number))
        waiting = len(selector.get_map())
        start = time.monotonic() + 0.05
        while waiting or plan:
            now = time.monotonic() - start
            assert now < 90, "some requests were never answered"
            if plan and plan[0][0] <= now:
                plan.pop(0)[1].send()
                continue
            for found, _ in selector.select(max(0.0, plan[0][0] - now) if plan else 1.0):
                found.data[0].read(found.data[1])
                selector.unregister(found.fileobj)
                found.fileobj.close()  # type: ignore[union-attr]
                waiting -= 1
    return arrivals


LINE = re.compile(r"(delaying|limiting) requests?((?:, dry run)?), excess: (\d+\.\d{3}),? by zone \"(\w+)\".*\?k=([\w-]+) HTTP")


def logged(server: Running, key: str) -> dict[str, list[tuple[str, str, float]]]:
    """Return the lines of the server's log about the requests with this key: by schedule, (what, zone, excess) in order."""
    found: dict[str, list[tuple[str, str, float]]] = {name: [] for name in SCHEDULES}
    for what, dry, excess, zone, whose in LINE.findall(server.log()):
        if whose.startswith(f"{key}-"):
            found[whose.removeprefix(f"{key}-")].append((what + dry, zone, float(excess)))
    return found


def differences(servers: list[Running], key: str, slower: int) -> list[str]:
    """Return the differences between the two servers after each schedule has run once."""
    faults = []
    arrivals = play(servers, key, slower)
    theirs, ours = (logged(server, key) for server in servers)
    for name, made in arrivals.items():
        responses = [[arrival.responses[number] for arrival in made] for number in range(2)]
        if responses[0] != responses[1]:
            faults.append(f"{name}: nginx {responses[0]}, ours {responses[1]}")
        if [line[:2] for line in theirs[name]] != [line[:2] for line in ours[name]]:
            faults.append(f"{name}: nginx logged {theirs[name]}, ours {ours[name]}")
            continue
        for (what, zone, excess), (_, _, other) in zip(theirs[name], ours[name], strict=True):
            # In requests; a request takes `slower / rate` seconds.
            if abs(excess - other) / RATES[zone.partition("x")[0]] > TOLERANCE:
                faults.append(f"{name}: {what} by {zone} at {excess} in nginx, at {other} in ours")
    return faults


def test_limit_req_agrees(servers: tuple[list[Running], Held]) -> None:
    """Each schedule has the same result in one of its plays; a fault of the program would be in all of them."""
    left = set(SCHEDULES)
    for attempt, slower in enumerate(PLAYS):
        faults = differences(servers[0], f"a{attempt}", slower)
        left &= {fault.partition(":")[0] for fault in faults}
        if not left:
            return
    pytest.fail("\n".join(fault for fault in faults if fault.partition(":")[0] in left))


def in_progress(servers: list[Running], held: Held, targets: list[str]) -> list[list[tuple[int, str, str] | None]]:
    """Return the statuses of both servers while all these requests are in progress; None for one that is still held."""
    held.gate.clear()
    made = []
    try:
        for target in targets:
            arrival = Arrival(servers, target)
            made.append(arrival)
            for number in range(len(servers)):
                # Either it is refused, or it waits at the upstream, before the next one is sent.
                if not arrival.is_held(number, held):
                    arrival.read(number)
        return [[arrival.responses[number] for arrival in made] for number in range(2)]
    finally:
        held.gate.set()
        for arrival in made:
            for number, sock in enumerate(arrival.socks):
                sock.settimeout(30)
                if arrival.responses[number] is None:
                    arrival.read(number)
                sock.close()
        assert all(response is not None for arrival in made for response in arrival.responses)


def test_limit_conn_agrees(servers: tuple[list[Running], Held]) -> None:
    running, held = servers
    targets = [f"/held?k={key}&s=one" for key in "aaaabbbbcc"]
    for _ in range(2):
        theirs, ours = in_progress(running, held, targets)
        assert theirs == ours
        refused = (429, "", "REJECTED")
        assert theirs == [None, None, None, refused, None, None, refused, refused, refused, refused]
    theirs, ours = in_progress(running, held, ["/held?s=two"] * 6)
    assert theirs == ours
    assert theirs.count(None) == 5
    theirs, ours = in_progress(running, held, ["/loose?k=a"] * 3)
    assert theirs == ours == [None] * 3


def test_clients_that_left_are_not_counted(servers: tuple[list[Running], Held]) -> None:
    running, held = servers
    held.gate.clear()
    leaving = [Arrival(running, "/held?k=left") for _ in range(3)]
    for arrival in leaving:
        arrival.send()
    # Before anyone else asks: a fourth that came first would take the place of one of them.
    wait_until(lambda: held.came.count("/held?k=left") == 3 * len(running), "the three to be in progress")
    assert not any(is_held(server, held) for server in running)
    for arrival in leaving:
        for sock in arrival.socks:
            sock.close()
    try:
        for server in running:
            # The upstream holds on: only the clients' leaving can have freed their places.
            wait_until(lambda server=server: is_held(server, held), "the places to be free", 25)  # type: ignore[misc]
    finally:
        held.gate.set()


def is_held(server: Running, held: Held) -> bool:
    """Return True if a further request is let in and waits for the upstream."""
    one = Arrival([server], "/held?k=left")
    try:
        return one.is_held(0, held)
    finally:
        one.socks[0].close()


def test_a_killed_worker_holds_nothing(servers: tuple[list[Running], Held], tmp_path: Path) -> None:
    """Ours alone: nginx's counts would stay until the zone is made anew."""
    (_, ours), held = servers
    held.gate.clear()
    before = ours.children()
    arrivals = [Arrival([ours], "/held?k=killed") for _ in range(3)]
    assert all(arrival.is_held(0, held) for arrival in arrivals)
    refused = Arrival([ours], "/held?k=killed")
    refused.send()
    refused.read(0)
    assert refused.responses == [(429, "", "REJECTED")]
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 30
    taken = 0
    while taken < 3:
        assert time.monotonic() < end, "the dead are still counted"
        arrival: Arrival | None = None
        try:
            arrival = Arrival([ours], "/held?k=killed")
            if arrival.is_held(0, held):
                arrivals.append(arrival)
                taken += 1
                continue
        except ConnectionError:
            # The new worker is not there yet, or the old one's connections are just ending.
            pass
        if arrival is not None:
            # A refused request does not keep one of the worker's connections, of which a busy machine would use up all.
            arrival.socks[0].close()
        time.sleep(0.05)
    held.gate.set()
    for arrival in [refused, *arrivals]:
        for sock in arrival.socks:
            sock.close()
