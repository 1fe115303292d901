"""The same configuration and requests in real nginx and in this proxy: the same servers are chosen, attempt by attempt.

Each scenario is an upstream block and a list of steps. A step goes to nginx and to our side in the same whole second, because
that is nginx's clock. The sequence compared is $upstream_addr: every try, the failed ones included. `random` cannot be compared
choice for choice; its distribution is.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from tests.support import Recorder, free_port, free_ports, run_nginx, run_proxy, wait_until
from tests.support.recorder import Recorded, Wire, reply
from wsgi_proxy import config
from wsgi_proxy.errors import NoLiveUpstreams
from wsgi_proxy.upstream.pool import Lease, Pool
from wsgi_proxy.upstream.pool_state import Runtime

LIVE, DEAD = 6, 2


@dataclass(frozen=True)
class Step:
    """A step of a scenario.

    `get` sends a request and waits for its response, `hold` leaves it open under `key`, `release` ends it, and `wait` lets the
    fail_timeout pass.
    """

    kind: str
    key: str = ""
    address: str = "127.0.0.1"


@dataclass(frozen=True)
class Scenario:
    """`servers` are (place, parameters): places 1 to 6 are alive, 7 and 8 refuse connections."""

    name: str
    method: str
    servers: Sequence[tuple[int, str]]
    steps: Sequence[Step]
    timed: bool = False
    slow: frozenset[int] = frozenset()

    def block(self, ports: Sequence[int]) -> str:
        lines = [f"    server 127.0.0.1:{ports[place - 1]} {parameters};" for place, parameters in self.servers]
        return "\n".join([f"upstream {self.name} {{", f"    {self.method}" if self.method else "", *lines, "}"])


def gets(count: int, keys: Callable[[int], str] = str, addresses: Callable[[int], str] | None = None) -> list[Step]:
    where = addresses or (lambda number: "127.0.0.1")
    return [Step("get", keys(number), where(number)) for number in range(count)]


def holds(count: int, most: int, seed: int) -> list[Step]:
    """Return steps that hold and release requests at random from a seed, at most `most` at once; all are released in the end."""
    dice = random.Random(seed)
    held: list[str] = []
    steps = []
    for number in range(count):
        if held and (len(held) >= most or dice.random() < 0.4):
            steps.append(Step("release", held.pop(dice.randrange(len(held)))))
        else:
            held.append(f"h{number}")
            steps.append(Step("hold", held[-1]))
    return steps + [Step("release", key) for key in held]


def clients(number: int) -> str:
    dice = random.Random(number)
    if number % 5 == 4:
        return f"2001:db8::{dice.randrange(1, 0xFFFF):x}:{dice.randrange(1, 0xFFFF):x}"
    return ".".join(str(dice.randrange(1, 255)) for _ in range(4))


ALL = [(place, "") for place in range(1, 7)]
PAUSE = Step("wait")
SCENARIOS = [
    Scenario("wrr", "", [(1, "weight=5"), (2, ""), (3, "")], gets(210)),
    Scenario("wrr_mixed", "", [(1, "weight=10"), (2, "weight=5"), (3, ""), (4, "down"), (5, "weight=7"), (6, "")], gets(240)),
    Scenario("wrr_equal", "", ALL, gets(60)),
    Scenario("least_conn_idle", "least_conn;", [(1, "weight=3"), (2, ""), (3, "weight=2"), (4, "")], gets(140)),
    Scenario(
        "least_conn_held", "least_conn;", [(1, "weight=3"), (2, ""), (3, "weight=2"), (4, "weight=2"), (5, "down"), (6, "")],
        holds(500, 40, 1),
    ),
    Scenario("least_conn_equal", "least_conn;", ALL, holds(300, 25, 2)),
    Scenario("least_conn_full", "least_conn;", [(1, "weight=3 max_conns=2"), (2, "max_conns=1"), (3, "")], holds(160, 9, 3)),
    Scenario("wrr_full", "", [(1, "weight=3 max_conns=2"), (2, "max_conns=3"), (3, "max_conns=1")], holds(200, 9, 4)),
    Scenario(
        "ip_hash", "ip_hash;", [(1, ""), (2, "weight=2"), (3, ""), (4, "down"), (5, ""), (6, "")], gets(300, addresses=clients)
    ),
    Scenario(
        "ip_hash_dead", "ip_hash;", [(1, ""), (7, "weight=2 fail_timeout=1"), (3, ""), (4, "down"), (8, "max_fails=0"), (6, "")],
        gets(90, addresses=clients) + [PAUSE] + gets(60, addresses=clients), timed=True,
    ),
    Scenario("ip_hash_held", "ip_hash;", [(1, "max_conns=2"), (2, "max_conns=2"), (3, "")], holds(80, 8, 5)),
    Scenario(
        "hash", "hash $arg_key;", [(1, "weight=3"), (2, ""), (3, "down"), (4, ""), (5, ""), (6, "")],
        gets(300, "k{}".format),
    ),
    Scenario(
        "hash_dead", "hash $arg_key;", [(1, "weight=3"), (7, "fail_timeout=1"), (3, ""), (8, "weight=2 max_fails=0"), (5, "")],
        gets(90, "k{}".format) + [PAUSE] + gets(60, "k{}".format), timed=True,
    ),
    Scenario("hash_empty", "hash $arg_none;", [(1, "weight=3"), (2, ""), (3, "")], gets(30)),
    Scenario(
        "ketama", "hash $arg_key consistent;", [(1, "weight=3"), (2, ""), (3, "down"), (4, ""), (5, ""), (6, "")],
        gets(300, "k{}".format),
    ),
    Scenario(
        "ketama_dead", "hash $arg_key consistent;",
        [(1, "weight=3"), (7, "fail_timeout=1"), (3, ""), (8, "max_fails=0"), (5, "")],
        gets(90, "k{}".format) + [PAUSE] + gets(60, "k{}".format), timed=True,
    ),
    Scenario(
        "weight_lost", "", [(1, "weight=5"), (7, "weight=10 max_fails=3 fail_timeout=1"), (3, "weight=4"), (8, "weight=3")],
        gets(60) + [PAUSE] + gets(60) + [PAUSE] + gets(40), timed=True,
    ),
    Scenario(
        "least_conn_lost", "least_conn;", [(1, "weight=5"), (7, "weight=10 max_fails=3 fail_timeout=1"), (3, "weight=4")],
        gets(40) + [PAUSE] + gets(30) + [PAUSE] + gets(30), timed=True,
    ),
    Scenario(
        "zoned", "zone zoned 64k;", [(1, "weight=5"), (2, ""), (7, "weight=4 fail_timeout=1"), (3, "")], gets(60), timed=True
    ),
    Scenario("zoned_held", "zone zoned_held 64k; least_conn;", [(1, "weight=3"), (2, ""), (3, "weight=2")], holds(80, 9, 8)),
    Scenario("never_counted", "", [(1, "weight=2"), (7, "max_fails=0"), (3, "")], gets(60)),
    Scenario(
        "backup", "", [(7, "fail_timeout=1"), (8, "max_fails=2 fail_timeout=1"), (1, "backup weight=2"), (2, "backup")],
        gets(40) + [PAUSE] + gets(30), timed=True,
    ),
    Scenario(
        "backup_least_conn", "least_conn;", [(7, "fail_timeout=1"), (1, "backup weight=2"), (2, "backup"), (3, "backup down")],
        gets(30) + holds(60, 7, 6), timed=True,
    ),
    Scenario("all_dead", "", [(7, "fail_timeout=1"), (8, "fail_timeout=1")], gets(10) + [PAUSE] + gets(6), timed=True),
    Scenario("one_dead_one_down", "", [(7, "fail_timeout=1"), (2, "down")], gets(5) + [PAUSE] + gets(3), timed=True),
    Scenario("single_dead", "", [(7, "")], gets(6)),
    Scenario("single_full", "", [(1, "max_conns=2")], holds(20, 4, 7)),
    Scenario("least_time", "least_time header;", ALL, gets(150), slow=frozenset({2})),
    Scenario("least_time_last", "least_time last_byte;", [*ALL[:2], (3, "weight=2"), *ALL[3:]], gets(90), slow=frozenset({3})),
    Scenario(
        "least_time_aged", "least_time header;", [(place, "fail_timeout=1") for place in range(1, 4)],
        (gets(12) + [PAUSE]) * 4, timed=True, slow=frozenset({2}),
    ),
]  # fmt: skip


class Backends:
    """Six recording servers and two ports without a listener."""

    def __init__(self) -> None:
        self.arrived: Queue[str] = Queue()
        self.released: dict[str, threading.Event] = {}
        self.slow: frozenset[int] = frozenset()
        self.measured = (0.0, 0.0)
        """The response times, header and last byte, that nginx measured last."""
        self.recorders = [Recorder(self.answer, name=str(place)) for place in range(1, LIVE + 1)]
        self.ports: list[int] = []

    def answer(self, request: Recorded, wire: Wire) -> bytes:
        hold = request.get("X-Hold")
        if hold:
            self.arrived.put(hold)
            assert self.released[hold].wait(30)
        if int(request.server) in self.slow:
            time.sleep(0.15)
        return reply(request.server.encode())

    def __enter__(self) -> Backends:
        for recorder in self.recorders:
            recorder.start()
        self.ports = [recorder.port for recorder in self.recorders] + free_ports(DEAD)
        return self

    def __exit__(self, *exc: object) -> None:
        for event in self.released.values():
            event.set()
        for recorder in self.recorders:
            recorder.stop()


class OverHTTP:
    """nginx, or this proxy, as a client sees it."""

    def __init__(self, port: int, backends: Backends, label: str, times: Path | None = None) -> None:
        self.times = times
        self.lines = 0
        self.port = port
        self.backends = backends
        self.label = label
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.held: dict[str, http.client.HTTPConnection] = {}

    def _send(self, connection: http.client.HTTPConnection, scenario: Scenario, step: Step, hold: str = "") -> None:
        headers = {"X-Real-IP": step.address}
        if hold:
            headers["X-Hold"] = hold
        connection.request("GET", f"/{scenario.name}?key={step.key}", headers=headers)

    def _tries(self, connection: http.client.HTTPConnection) -> list[int]:
        response = connection.getresponse()
        response.read()
        addresses = [part.strip() for part in response.headers["X-Tries"].split(",")]
        assert response.status == 200 or (response.status == 502)
        ports = {f"127.0.0.1:{port}": place for place, port in enumerate(self.backends.ports, 1)}
        return [ports.get(address, 0) for address in addresses]

    def get(self, scenario: Scenario, step: Step) -> list[int]:
        self._send(self.connection, scenario, step)
        tries = self._tries(self.connection)
        if scenario.slow and self.times is not None:
            self._read_times()
        return tries

    def _read_times(self) -> None:
        """nginx writes its log line after the client has the response."""
        assert self.times is not None
        lines: list[str] = []

        def written() -> bool:
            assert self.times is not None
            lines[:] = self.times.read_text().splitlines() if self.times.exists() else []
            return len(lines) > self.lines

        wait_until(written, "nginx's log line")
        self.lines = len(lines)
        header, last = lines[-1].split()
        self.backends.measured = (float(header), float(last))

    def hold(self, scenario: Scenario, step: Step) -> list[int]:
        key = f"{self.label}-{scenario.name}-{step.key}"
        self.backends.released[key] = threading.Event()
        connection = self.held[step.key] = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        self._send(connection, scenario, step, key)
        # Either a server has it, or none was left and the response is on its way.
        assert connection.sock is not None
        connection.sock.settimeout(0.002)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if not self.backends.arrived.empty():
                assert self.backends.arrived.get() == key
                break
            try:
                if connection.sock.recv(1, 2):  # MSG_PEEK
                    break
            except TimeoutError:
                continue
        else:
            raise AssertionError("the request went nowhere")
        connection.sock.settimeout(30)
        return []

    def release(self, scenario: Scenario, step: Step) -> list[int]:
        self.backends.released[f"{self.label}-{scenario.name}-{step.key}"].set()
        connection = self.held.pop(step.key)
        tries = self._tries(connection)
        connection.close()
        return tries

    def close(self) -> None:
        self.connection.close()
        for connection in self.held.values():
            connection.close()


class Request:
    def __init__(self, step: Step) -> None:
        self.remote_addr = step.address
        self.key = step.key
        self.tried: set[Any] | None = None


class ByPool:
    """A Pool, used as the request path uses it. Servers 7 and 8 fail."""

    def __init__(self, scenarios: Sequence[Scenario], backends: Backends) -> None:
        ports = backends.ports
        self.backends = backends
        self.ports = list(ports)
        self.pools = {scenario.name: Pool.from_config(upstream(scenario, ports)) for scenario in scenarios}
        self.held: dict[str, tuple[Lease | None, list[int]]] = {}

    def _lease_alive(self, scenario: Scenario, step: Step) -> tuple[Lease | None, list[int]]:
        pool, request = self.pools[scenario.name], Request(step)
        tries: list[int] = []
        for _ in range(pool.tries_limit):
            try:
                lease = pool.lease(request)
            except NoLiveUpstreams:
                return None, [*tries, 0]
            assert isinstance(lease.peer.address, tuple)
            tries.append(self.ports.index(lease.peer.address[1]) + 1)
            if tries[-1] <= LIVE:
                return lease, tries
            lease.settle(failed=True)
        return None, tries

    def get(self, scenario: Scenario, step: Step) -> list[int]:
        lease, tries = self._lease_alive(scenario, step)
        if lease is not None:
            # The times that nginx measured, so that both learn the same.
            lease.settle(False, *(self.backends.measured if scenario.slow else (0.0, 0.0)))
        return tries

    def hold(self, scenario: Scenario, step: Step) -> list[int]:
        self.held[step.key] = self._lease_alive(scenario, step)
        return []

    def release(self, scenario: Scenario, step: Step) -> list[int]:
        lease, tries = self.held.pop(step.key)
        if lease is not None:
            lease.settle(False, 0.0, 0.0)
        return tries


def upstream(scenario: Scenario, ports: Sequence[int]) -> config.Upstream:
    """The model of a scenario's upstream block."""
    servers = []
    for place, parameters in scenario.servers:
        options: dict[str, Any] = {}
        for word in parameters.split():
            name, _, value = word.partition("=")
            options[name] = (float(value) if name == "fail_timeout" else int(value)) if value else True
        servers.append(config.Server(f"127.0.0.1:{ports[place - 1]}", **options))
    directives = [directive.split() for directive in scenario.method.split(";") if directive]
    zone = next((words[1] for words in directives if words[0] == "zone"), None)
    words = next((words for words in directives if words[0] != "zone"), [])
    policy = config.Policy()
    if words:
        key = (lambda x: "" if words[1] == "$arg_none" else x.key) if words[0] == "hash" else None
        policy = config.Policy(words[0], key, tuple(words[2:] if words[0] == "hash" else words[1:]))
    return config.Upstream(scenario.name, tuple(servers), policy, zone)


def configuration(scenarios: Sequence[Scenario], ports: Sequence[int], port: int) -> str:
    """nginx.conf with an upstream and a location for each scenario."""
    blocks = "\n".join(scenario.block(ports) for scenario in scenarios)
    locations = "\n".join(
        f"location /{scenario.name} {{ proxy_pass http://{scenario.name}; {'access_log times.log t;' if scenario.slow else ''} }}"
        for scenario in scenarios
    )
    return f"""
worker_processes 1;
events {{ worker_connections 512; }}
http {{
    log_format t "$upstream_header_time $upstream_response_time";
    access_log off;
    keepalive_requests 100000;
    {blocks}
    server {{
        listen 127.0.0.1:{port};
        set_real_ip_from 127.0.0.1;
        real_ip_header X-Real-IP;
        add_header X-Tries $upstream_addr always;
        {locations}
    }}
}}
"""


def calm() -> None:
    """Wait if the clock's next second begins within a tenth of a second: a step must fall into one second on both sides."""
    left = 1 - time.time() % 1
    if left < 0.1:
        time.sleep(left + 0.005)


def compare(scenario: Scenario, steps: Sequence[Step], sides: Sequence[Any]) -> int:
    """Take each step on every side and compare. Return the number of choices compared."""
    choices = 0
    for number, step in enumerate(steps):
        if scenario.timed:
            calm()
        results = [getattr(side, step.kind)(scenario, step) for side in sides]
        assert all(result == results[0] for result in results), f"step {number}, {step}: {results}"
        choices += len(results[0])
    return choices


def rounds(scenario: Scenario) -> list[list[Step]]:
    """Return the steps between the pauses."""
    found: list[list[Step]] = [[]]
    for step in scenario.steps:
        if step.kind == "wait":
            found.append([])
        else:
            found[-1].append(step)
    return found


def pause() -> None:
    """Sleep until the second after the next: longer than any fail_timeout here, as whole seconds count."""
    until = int(time.time()) + 2
    while time.time() < until + 0.005:
        time.sleep(until + 0.01 - time.time())


@pytest.fixture(scope="module")
def backends() -> Iterator[Backends]:
    with Backends() as started:
        yield started


@pytest.fixture(scope="module")
def nginx(backends: Backends, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OverHTTP]:
    port = free_port()
    folder: Path = tmp_path_factory.mktemp("nginx")
    with run_nginx(configuration(SCENARIOS, backends.ports, port), folder):
        side = OverHTTP(port, backends, "nginx", folder / "nginx" / "times.log")
        yield side
        side.close()


@pytest.fixture(scope="module")
def proxy(backends: Backends, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OverHTTP]:
    port = free_port()
    with run_proxy(configuration(SCENARIOS, backends.ports, port), tmp_path_factory.mktemp("proxy")):
        side = OverHTTP(port, backends, "proxy")
        yield side
        side.close()


@pytest.fixture(scope="module")
def pools(backends: Backends) -> ByPool:
    return ByPool(SCENARIOS, backends)


def named(scenario: Scenario) -> str:
    return scenario.name


Outcome = int | AssertionError


@pytest.fixture(scope="module")
def timed(nginx: OverHTTP, proxy: OverHTTP, pools: ByPool, backends: Backends) -> dict[str, Outcome]:
    """The scenarios that need time to pass, all in the same pauses, with their outcomes."""
    outcomes: dict[str, Outcome] = {scenario.name: 0 for scenario in SCENARIOS if scenario.timed}
    for number in range(max(len(rounds(scenario)) for scenario in SCENARIOS)):
        if number:
            pause()
        for scenario in SCENARIOS:
            so_far = outcomes.get(scenario.name)
            if isinstance(so_far, int) and number < len(rounds(scenario)):
                backends.slow = scenario.slow
                # The proxy measures its own response times, on a machine that may be busy.
                sides = [nginx, pools] if scenario.slow else [nginx, proxy, pools]
                try:
                    outcomes[scenario.name] = so_far + compare(scenario, rounds(scenario)[number], sides)
                except AssertionError as error:
                    outcomes[scenario.name] = error
    return outcomes


@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if each.timed], ids=named)
def test_the_same_servers_fail_and_come_back(scenario: Scenario, timed: dict[str, Outcome]) -> None:
    outcome = timed[scenario.name]
    if isinstance(outcome, AssertionError):
        raise outcome
    assert outcome


@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if not (each.timed or each.slow)], ids=named)
def test_nginx_the_proxy_and_the_pool_choose_the_same(
    scenario: Scenario, nginx: OverHTTP, proxy: OverHTTP, pools: ByPool, backends: Backends
) -> None:
    backends.slow = frozenset()
    assert compare(scenario, scenario.steps, [nginx, proxy, pools])


@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if each.slow and not each.timed], ids=named)
def test_nginx_and_the_pool_choose_the_same_by_time(
    scenario: Scenario, nginx: OverHTTP, proxy: OverHTTP, pools: ByPool, backends: Backends
) -> None:
    """The pool gets the times that nginx measured. The proxy measures its own: the test only shows that it avoids the slow
    server as nginx does."""
    backends.slow = scenario.slow
    assert compare(scenario, scenario.steps, [nginx, pools])
    chosen = [proxy.get(scenario, step)[0] for step in scenario.steps]
    assert 1 <= sum(place in scenario.slow for place in chosen) <= len(chosen) // 10


def test_there_are_enough_choices() -> None:
    """At least 3,000 choices are compared: every step but waits and the ends of held requests is at least one."""
    assert sum(step.kind in ("get", "hold") for scenario in SCENARIOS for step in scenario.steps) >= 3000


def chi_squared(chosen: Counter[int], expected: dict[int, float]) -> float:
    return sum((chosen[place] - number) ** 2 / number for place, number in expected.items())


class Seeded:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed).random


@pytest.mark.parametrize("options", [(), ("two",)])
def test_random_is_distributed_by_weight(options: tuple[str, ...]) -> None:
    """Six servers, weights 1 to 6. `two` without connections keeps the second of two different draws."""
    weights = {place: place for place in range(1, 7)}
    servers = [config.Server(f"127.0.0.1:{19000 + place}", weight=weight) for place, weight in weights.items()]
    pool = Pool(servers, config.Policy("random", options=options), runtime=Runtime(dice=Seeded(11)))
    chosen: Counter[int] = Counter()
    count, total = 20_000, sum(weights.values())
    for number in range(count):
        lease = pool.lease(Request(Step("get", str(number))))
        assert isinstance(lease.peer.address, tuple)
        chosen[lease.peer.address[1] - 19000] += 1
        lease.settle()
    share = {place: weight / total for place, weight in weights.items()}
    if options:
        # The second draw differs from the first: P(j) = sum over i != j of p_i * p_j / (1 - p_i).
        share = {j: sum(share[i] * share[j] / (1 - share[i]) for i in weights if i != j) for j in weights}
    # 99.9 % of samples with five degrees of freedom are below 20.5.
    assert chi_squared(chosen, {place: count * part for place, part in share.items()}) < 20.5
