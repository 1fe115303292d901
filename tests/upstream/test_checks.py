"""Active health checks: the leader, the results, and the servers that they close. Real processes and servers."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import Recorder, fetch, free_port, reply, run_gunicorn, wait_until
from tests.support.forks import ended, forked
from tests.support.pools import Request
from wsgi_proxy.balance.peers import Peer
from wsgi_proxy.config import Config, HealthCheck, If, Location, Match, ProxyPass, ProxySettings, Server, ServerBlock
from wsgi_proxy.errors import CheckFailed, NoLiveUpstreams
from wsgi_proxy.shm.private_memory import PrivateMemory
from wsgi_proxy.shm.shared_memory import SharedMemory
from wsgi_proxy.upstream.checks import CHECKS, Probe, Probes, make_check
from wsgi_proxy.upstream.pool import Pool
from wsgi_proxy.upstream.pool_state import Runtime

FAST = {"interval": 0.02}


def chosen(pool: Pool, count: int = 4) -> set[str]:
    names = set()
    for _ in range(count):
        lease = pool.lease(Request())
        names.add(lease.peer.name)
        lease.settle()
    return names


class Verdicts:
    """A check whose answers the test gives, by the peer's port."""

    def __init__(self) -> None:
        self.bad: set[int] = set()
        self.asked: list[int] = []

    def __call__(self, peer: Peer) -> None:
        assert isinstance(peer.address, tuple)
        self.asked.append(peer.address[1])
        if peer.address[1] in self.bad:
            raise CheckFailed("said so")


@pytest.fixture
def started() -> Iterator[list[Probes]]:
    running: list[Probes] = []
    yield running
    for probes in running:
        probes.stop()


def pool_of(verdicts: Verdicts, memory: SharedMemory | None = None, **settings: Any) -> Pool:
    servers = [Server(f"127.0.0.1:{port}") for port in (1, 2, 3)]
    check = HealthCheck(check=verdicts, **{**FAST, **settings})
    return Pool(servers, "round_robin", health_check=check, runtime=Runtime(memory or PrivateMemory()))


def begin(pool: Pool, started: list[Probes]) -> Probes:
    probes = Probes.of(Config(), {"p": pool}, pool.memory)
    started.append(probes)
    probes.start()
    return probes


def test_a_bad_server_is_left_out_until_it_is_good_again(started: list[Probes]) -> None:
    verdicts = Verdicts()
    pool = pool_of(verdicts)
    begin(pool, started)
    verdicts.bad.add(2)
    wait_until(lambda: chosen(pool) == {"127.0.0.1:1", "127.0.0.1:3"}, "the bad one to be left out")
    assert pool.health.fails(1) == 0
    verdicts.bad.clear()
    wait_until(lambda: len(chosen(pool)) == 3, "the good one to come back")


def test_a_machine_that_does_not_lead_runs_no_check(started: list[Probes]) -> None:
    ours, theirs = Verdicts(), Verdicts()
    pools = {"ours": pool_of(ours), "theirs": pool_of(theirs)}
    led = {pools["ours"]}
    probes = Probes.of(Config(), pools, PrivateMemory(), leads=lambda pool: pool in led)
    started.append(probes)
    probes.start()
    wait_until(lambda: len(ours.asked) > 20, "the checks of the one pool")
    assert not theirs.asked
    led.add(pools["theirs"])
    wait_until(lambda: len(theirs.asked) > 20, "the checks that were taken over")


def test_fails_and_passes_count_in_a_row() -> None:
    verdicts = Verdicts()
    pool = pool_of(verdicts, fails=3, passes=2)
    probe = Probe(pool, pool.health_check or HealthCheck(), verdicts)
    peer = pool.peers[0]

    def outcomes(text: str) -> str:
        result = ""
        for good in text:
            (verdicts.bad.discard if good == "+" else verdicts.bad.add)(1)
            probe.run(peer)
            result += "x" if pool.health.closed(0, 0) else "."
        return result

    assert outcomes("--+--+---+-++") == "........xxxx."


@pytest.mark.parametrize("error", [ZeroDivisionError("division by zero"), OSError(5, "Input/output error"), SystemExit(2)])
def test_a_check_that_raises_something_else_is_a_failed_check(
    error: BaseException, started: list[Probes], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    escaped: list[object] = []
    monkeypatch.setattr(threading, "excepthook", escaped.append)
    broken = threading.Event()

    def check(peer: Peer) -> None:
        if peer.address == ("127.0.0.1", 2) and not broken.is_set():
            raise error

    servers = [Server(f"127.0.0.1:{port}") for port in (1, 2, 3)]
    settings = HealthCheck(check=check, fails=2, **FAST)
    pool = Pool(servers, "round_robin", health_check=settings, runtime=Runtime(PrivateMemory()))
    probe = Probe(pool, settings, check)
    with caplog.at_level("INFO", "wsgi_proxy"):
        probe.run(pool.peers[1])
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    message = record.getMessage()
    assert message.startswith('health check of peer 127.0.0.1:2 in upstream "" raised ' + type(error).__name__), message
    assert str(error) in message and f"{Path(__file__).name}:" in message and "\n" not in message
    begin(pool, started)
    wait_until(lambda: chosen(pool) == {"127.0.0.1:1", "127.0.0.1:3"}, "the server whose check raises to be left out")
    broken.set()
    wait_until(lambda: len(chosen(pool)) == 3, "the server to come back")
    assert not escaped


def test_a_check_whose_close_raises_does_not_end_the_checks(caplog: pytest.LogCaptureFixture) -> None:
    class Check(Verdicts):
        def close(self) -> None:
            raise ValueError("closed twice")

    pool = pool_of(Verdicts())
    probe = Probe(pool, HealthCheck(), Check())
    gone = Peer(Server("127.0.0.1:9"), ("127.0.0.1", 9), "127.0.0.1:9", "127.0.0.1")
    probe.due[gone] = 0.0
    assert len(probe.due_peers(1.0, random.Random(1))) == 3
    assert 'closing the health check of upstream "" raised ValueError: closed twice' in caplog.text


def test_a_single_server_found_bad_is_not_used(started: list[Probes]) -> None:
    verdicts = Verdicts()
    pool = Pool(["127.0.0.1:1"], health_check=HealthCheck(check=verdicts, interval=0.02), runtime=Runtime(PrivateMemory()))
    begin(pool, started)
    assert chosen(pool) == {"127.0.0.1:1"}
    verdicts.bad.add(1)

    def refused() -> bool:
        try:
            return not chosen(pool)
        except NoLiveUpstreams:
            return True

    wait_until(refused, "the only server to be refused")


def test_mandatory_means_not_before_the_first_good_check(started: list[Probes]) -> None:
    verdicts = Verdicts()
    verdicts.bad.update((1, 2, 3))
    pool = pool_of(verdicts, mandatory=True)
    begin(pool, started)
    with pytest.raises(NoLiveUpstreams):
        pool.lease(Request())
    verdicts.bad -= {2}
    wait_until(lambda: pool.health.standing(1).check == 1, "the first good check")
    assert chosen(pool) == {"127.0.0.1:2"}


def test_a_server_that_is_down_is_not_asked() -> None:
    verdicts = Verdicts()
    pool = Pool([Server("127.0.0.1:1", down=True), Server("127.0.0.1:2")], runtime=Runtime(PrivateMemory()))
    probe = Probe(pool, HealthCheck(interval=5.0, jitter=1.0), verdicts)
    dice = random.Random(1)
    assert [peer.name for peer in probe.due_peers(100.0, dice)] == ["127.0.0.1:2"]
    assert probe.due_peers(104.9, dice) == []
    assert 105 < probe.due[pool.peers[1]] <= 106
    assert len(probe.due_peers(106.0, dice)) == 1


def test_nobody_is_asked_twice_at_once(started: list[Probes]) -> None:
    """A check that takes longer than the interval."""
    gate, running, most = threading.Event(), [0], [0]

    def slow(peer: Peer) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        gate.wait(0.1)
        running[0] -= 1

    pool = Pool(["127.0.0.1:1"], health_check=HealthCheck(check=slow, interval=0.01), runtime=Runtime(PrivateMemory()))
    begin(pool, started)
    wait_until(lambda: most[0], "a check")
    gate.wait(0.15)
    assert most[0] == 1


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    opened = SharedMemory.open(__name__)
    yield opened
    opened.path.unlink(missing_ok=True)


def test_stopped_checks_do_not_start_again_in_a_forked_worker(started: list[Probes]) -> None:
    verdicts = Verdicts()
    pool = pool_of(verdicts)
    probes = begin(pool, started)
    wait_until(lambda: verdicts.asked, "a check")
    probes.stop()
    pid = os.fork()
    if not pid:
        # The hook of the fork has run. A request must not start the checks either.
        begun = probes._thread is not None
        assert pool.on_tick is not None
        pool.on_tick()
        os._exit(10 * begun + (probes._thread is not None))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_one_worker_leads_and_another_takes_over_when_it_is_killed(memory: SharedMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """All processes know the leader's results."""
    # Another test of this process may have imported gunicorn's gevent worker. The children would then wait for gevent's patch.
    monkeypatch.delitem(sys.modules, "gunicorn.workers.ggevent", raising=False)
    leader_of = memory.area("leader", 8).cast("q")
    verdict = memory.area("verdict", 8).cast("q")

    def check(peer: Peer) -> None:
        leader_of[0] = os.getpid()
        if verdict[0]:
            raise CheckFailed("said so")

    servers = [Server("127.0.0.1:1"), Server("127.0.0.1:2")]
    pool = Pool(servers, "round_robin", health_check=HealthCheck(check=check, interval=0.02), runtime=Runtime(memory))
    # Created before the fork. Only the children start the checks.
    kept = Probes.of(Config(), {"p": pool}, memory)
    pids = []
    for _ in range(2):
        pid = os.fork()
        if not pid:
            signal.pause()
        pids.append(pid)
    try:
        assert kept._thread is None
        wait_until(lambda: leader_of[0] in pids, "a leader")
        first = leader_of[0]
        verdict[0] = 1
        wait_until(lambda: pool.health.closed(0, 0) and pool.health.closed(1, 0), "the finding")
        with pytest.raises(NoLiveUpstreams):
            Pool.lease(_without_probes(pool), Request())
        os.kill(first, signal.SIGKILL)
        os.waitpid(first, 0)
        pids.remove(first)
        verdict[0] = 0
        wait_until(lambda: leader_of[0] == pids[0], "the other to take over")
        wait_until(lambda: not pool.health.closed(0, 0), "the new leader's finding")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _without_probes(pool: Pool) -> Pool:
    pool.on_tick = None
    return pool


@pytest.mark.parametrize("name", CHECKS)
class TestContract:
    """Every line of CHECKS: silent for a good server, CheckFailed for a bad one, whatever is wrong with it."""

    def check(self, name: str, at: int, patience: float = 30.0, **settings: Any) -> None:
        peer = Peer(Server(f"127.0.0.1:{at}"), ("127.0.0.1", at), f"127.0.0.1:{at}", "127.0.0.1")
        proxy = ProxySettings(connect_timeout=30.0, read_timeout=patience)
        CHECKS[name](HealthCheck(**settings), None, "http", "", proxy)(peer)

    def test_a_good_server(self, name: str) -> None:
        with Recorder() as server:
            self.check(name, server.port)

    def test_nobody_listens(self, name: str) -> None:
        with pytest.raises(CheckFailed):
            self.check(name, free_port())

    @pytest.mark.parametrize("response", [b"garbage\r\n\r\n", b"", reply(status=503), reply(status=404)])
    def test_a_bad_answer(self, name: str, response: bytes) -> None:
        def script(request: Any, wire: Any) -> None:
            wire.send(response)
            wire.close()

        with Recorder(script) as server, pytest.raises(CheckFailed):
            self.check(name, server.port)

    def test_silence(self, name: str) -> None:
        done = threading.Event()

        def script(request: Any, wire: Any) -> None:
            done.wait(30)

        with Recorder(script) as server:
            try:
                with pytest.raises(CheckFailed):
                    self.check(name, server.port, 0.3)
            finally:
                done.set()

    def test_another_port(self, name: str) -> None:
        with Recorder() as server:
            self.check(name, free_port(), port=server.port)


def test_a_callable_of_ones_own_is_the_check() -> None:
    verdicts = Verdicts()
    assert make_check(HealthCheck(check=verdicts), None, "http", "", ProxySettings()) is verdicts


def test_every_location_is_looked_at() -> None:
    def location(upstream: str, **more: Any) -> Location:
        proxy = ProxySettings(pass_=ProxyPass(f"http://{upstream}", upstream=upstream), health_checks=(HealthCheck(),))
        return Location(proxy=proxy, **more)

    conditional = If(lambda x: True, (), location("c"))
    inner = location("b", script=(conditional,))
    outer = If(lambda x: True, (), location("s"))
    server = ServerBlock(locations=(location("a", locations=(inner,)),), named={"@n": location("n")}, script=(outer,))
    pools = {name: Pool(["127.0.0.1:1"], name=name, runtime=Runtime(PrivateMemory())) for name in "abcns"}
    match = Match("m", status=lambda status: status == 204)
    probes = Probes.of(Config(servers=(server,), matches={"m": match}), pools, PrivateMemory())
    assert sorted(probe.pool.name for probe in probes.probes) == ["a", "b", "c", "n", "s"]


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "gevent", "wsgi_proxy.worker.ProxyWorker"])
def test_checks_of_a_preloaded_application_begin_without_a_request_and_end_clean(tmp_path: Path, worker_class: str) -> None:
    """The application is made before the fork, and with gevent the fork comes before the patch."""
    folder = tmp_path / "gunicorn"
    folder.mkdir()
    with Recorder() as upstream:
        (folder / "checked.py").write_text(
            "import threading\n"
            "from wsgi_proxy import Pool, Proxy\n"
            "from wsgi_proxy.config import HealthCheck\n"
            f"proxy = Proxy(Pool([{upstream.url!r}], health_check=HealthCheck(interval=0.05)))\n"
            "def app(environ, start_response):\n"
            "    [thread] = [each for each in threading.enumerate() if 'probes' in each.name]\n"
            # gevent's patch puts its own Event into `threading`.
            "    start_response('200 OK', [('X-After-Patch', str(type(thread._started) is threading.Event))])\n"
            "    return [b'']\n"
        )
        with run_gunicorn("checked:app", tmp_path, worker_class, args=["--preload"]) as server:
            wait_until(lambda: len(upstream.requests) > 3, "checks", 30)
            assert fetch(server.port).get("X-After-Patch") == "True", server.log()
    assert "Traceback" not in server.log(), server.log()


def test_the_first_result_is_reported() -> None:
    """The checks of a worker start when they are made, so the function must be known by then."""
    results: list[tuple[str, bool]] = []

    class Eager(Probes):
        def start(self) -> None:
            for probe in self.probes:
                for peer in probe.pool.peers:
                    probe.run(peer)

    def fails(peer: Peer) -> None:
        raise CheckFailed("no")

    def report(pool: Pool, peer: Peer, failure: str, changed: bool) -> None:
        results.append((failure, changed))

    def work() -> None:
        memory = PrivateMemory()
        pool = Pool(["127.0.0.1:9"], runtime=Runtime(memory))
        Eager([Probe(pool, HealthCheck(fails=1), fails)], memory, report)
        assert results == [("no", True)]

    assert ended(forked(work)) == 0
