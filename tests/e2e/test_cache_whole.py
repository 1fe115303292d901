"""Bodies that pass the cache arrive whole or visibly cut, and never at another client: on the wire, under load and with faults.

Each case is a path that scripts the origin: the framing, the size, and a pause in the middle of the body. A client of
each answer compares its SHA-256 with the one that the path and the request's variant stand for.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import resource
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.support import Recorder, free_port, reply, run_proxy, wait_until
from tests.support.redis import RedisServer

SIZES = (0, 1, 65535, 65536, 65537, 400_000, 1_000_000)
LARGE = 9 * 1024 * 1024
FRAMINGS = ("length", "chunked")
STORES = ("disk", "memory", "redis")
WORKERS = ("ProxyWorker", "gthread")
# Each store and each worker once; with WSGI_PROXY_WHOLE=1 all pairs of them.
PAIRS = [("disk", "ProxyWorker"), ("memory", "gthread"), ("redis", "ProxyWorker")]
if os.environ.get("WSGI_PROXY_WHOLE"):
    PAIRS = [(store, worker) for store in STORES for worker in WORKERS]
_BLOCK = 32 * 1024

CONF = """
worker_processes 3;
events {{}}
http {{
    proxy_cache_path {path} keys_zone=z:10m inactive=10m {options};
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_read_timeout 60s;
            proxy_cache z;
            proxy_cache_key $uri;
            proxy_cache_lock_timeout 60s;
            proxy_cache_lock_age 60s;
            add_header X-Cache $upstream_cache_status always;
            add_header X-Pid $pid always;
        }}
        location ~ ^/purge(/.*)$ {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_cache z;
            proxy_cache_key $1;
            proxy_cache_purge 1;
        }}
    }}
}}
"""


def content(path: str, user: str, size: int) -> bytes:
    """The only right body of a path for a variant."""
    seed = hashlib.sha256(f"{path} {user}".encode()).digest()
    return (seed * (size // 32 + 1))[:size]


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


class Origin:
    """Answers `/<framing>/<size>/<pause>/…`: half of the body, a pause or a wait for `go`, the other half.

    With `vary` in the path the body depends on X-User. `begun` counts the first halves that were sent of each path.
    """

    def __init__(self) -> None:
        self.recorder = Recorder(self._script)
        self.gates: dict[str, threading.Event] = {}
        self.begun: dict[str, int] = {}

    def gate(self, path: str) -> threading.Event:
        """Make the origin wait in the middle of the path's body until the event is set."""
        self.gates[path] = threading.Event()
        return self.gates[path]

    def count(self, path: str, method: str = "GET") -> int:
        return sum(each.target == path and each.method == method for each in self.recorder.requests)

    def _script(self, request, wire):
        path = request.target
        if request.method == "POST":
            return reply(b"changed")
        _, framing, size, pause, *_ = path.split("/")
        user = (request.get("X-User") or "") if "vary" in path else ""
        body = content(path, user, int(size))
        head = ["HTTP/1.1 200 OK", "Cache-Control: max-age=600", "Accept-Ranges: bytes", f'ETag: "{sha(body)[:12]}"']
        if "vary" in path:
            head.append("Vary: X-User")
        chunked = framing == "chunked"
        head.append("Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}")
        wire.send("\r\n".join(head).encode() + b"\r\n\r\n")
        if request.method == "HEAD":
            return None
        half = len(body) // 2
        try:
            self._send(wire, body[:half], chunked)
            self.begun[path] = self.begun.get(path, 0) + 1
            if path in self.gates:
                assert self.gates[path].wait(60)
            time.sleep(float(pause))
            self._send(wire, body[half:], chunked)
            if chunked:
                wire.send(b"0\r\n\r\n")
        except OSError:
            wire.reset()  # the proxy had enough of it
        return None

    @staticmethod
    def _send(wire, data: bytes, chunked: bool) -> None:
        for at in range(0, len(data), _BLOCK):
            block = data[at : at + _BLOCK]
            wire.send(b"%x\r\n%s\r\n" % (len(block), block) if chunked else block)


@dataclass
class Got:
    """One answer: `body` is None if it was visibly cut."""

    status: int
    body: bytes | None
    word: str
    headers: dict[str, str]


class Download(threading.Thread):
    """A client in a thread: `begun` once it has the head, `got` at the end. With `leaves` it waits for `leave`, and closes
    its connection without reading on."""

    def __init__(self, port: int, path: str, leaves: bool = False) -> None:
        super().__init__(daemon=True)
        self.begun, self.leave = threading.Event(), threading.Event()
        self.path, self.leaves = path, leaves
        self.got = Got(0, None, "", {})
        self.pid = 0
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.start()

    def run(self) -> None:
        self.connection.request("GET", self.path)
        try:
            response = self.connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            self.got = Got(response.status, None, headers["x-cache"], headers)
            self.pid = int(headers["x-pid"])
            self.begun.set()
            if self.leaves:
                self.leave.wait(60)
            else:
                self.got.body = response.read()
        except (http.client.IncompleteRead, http.client.BadStatusLine, ConnectionError):
            self.got.body = None
        finally:
            self.begun.set()
            self.connection.close()

    @property
    def whole(self) -> bool:
        """Return True if the right body arrived. Raise AssertionError for a wrong one that looks complete."""
        self.join(120)
        assert not self.is_alive()
        if self.got.body is not None:
            assert self.got.status == 200 and sha(self.got.body) == sha(content(self.path, "", int(self.path.split("/")[2])))
        return self.got.body is not None


def ask(port: int, path: str, user: str = "", method: str = "GET", fields: dict[str, str] | None = None) -> Got:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, headers={**({"X-User": user} if user else {}), **(fields or {})})
        try:
            response = connection.getresponse()
        except (ConnectionError, http.client.BadStatusLine):
            return Got(0, None, "", {})
        headers = {name.lower(): value for name, value in response.getheaders()}
        try:
            body: bytes | None = response.read()
        except (http.client.IncompleteRead, ConnectionError):
            body = None
        return Got(response.status, body, headers.get("x-cache", ""), headers)
    finally:
        connection.close()


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@dataclass
class Site:
    port: int
    origin: Origin
    running: object
    directory: object
    gunicorn: bool = False

    def ask(self, path: str, *args, **keys) -> Got:
        return ask(self.port, path, *args, **keys)

    def reached(self, path: str, times: int = 1) -> None:
        """Wait until the origin has sent the first half of that many bodies."""
        wait_until(lambda: self.origin.begun.get(path, 0) >= times, f"the origin to send half of {path}", 60)


numbers = iter(range(1_000_000))


def path_of(framing: str, size: int, pause: float = 0, kind: str = "plain") -> str:
    return f"/{framing}/{size}/{pause}/{kind}/{next(numbers)}"


@contextmanager
def serving(directory, store: str, worker: str = "ProxyWorker", redis=None, options: str = ""):
    """A proxy of three workers on the store, before an origin."""
    origin, port = Origin(), free_port()
    path = {"disk": "cache", "memory": "memory", "redis": redis.url if redis is not None else ""}[store]
    with pytest.MonkeyPatch.context() as patch:
        if worker != "ProxyWorker":
            patch.setenv("WORKER_CLASS", worker)
        with origin.recorder:
            conf = CONF.format(path=path, options=options, port=port, upstream=origin.recorder.port)
            with run_proxy(conf, directory) as running:
                try:
                    yield Site(port, origin, running, directory / "proxy" / "cache")
                finally:
                    for gate in origin.gates.values():
                        gate.set()


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def site(request, tmp_path_factory, redis_server):
    store, worker = request.param
    with serving(tmp_path_factory.mktemp("whole"), store, worker, redis_server) as site:
        site.gunicorn = worker != "ProxyWorker"
        yield site


@pytest.fixture
def crowd():
    with ThreadPoolExecutor(128) as pool:
        yield pool


def test_every_framing_size_and_pause_arrives_whole_for_leader_and_followers(site, crowd):
    cases = [path_of(f, size, pause) for f in FRAMINGS for size in SIZES for pause in (0, 0.15, 1.2)]
    cases += [path_of(framing, LARGE, pause) for framing in FRAMINGS for pause in (0.15, 1.2)]
    asked = [(path, crowd.submit(site.ask, path)) for path in cases for _ in range(3)]
    wrong = []
    for path, future in asked:
        got, size = future.result(), int(path.split("/")[2])
        if got.body is None or sha(got.body) != sha(content(path, "", size)):
            wrong.append((path, got.status, None if got.body is None else len(got.body), got.word))
    assert not wrong
    again = [(path, crowd.submit(site.ask, path)) for path in cases]
    assert not [path for path, future in again if future.result().body != content(path, "", int(path.split("/")[2]))]


def test_a_variant_is_never_served_as_another(site, crowd):
    cases = [path_of(framing, 400_000, 1.2, "vary") for framing in FRAMINGS for _ in range(3)]
    for later in (0.0, 0.7, 0.7):
        time.sleep(later)
        asked = [(path, user, crowd.submit(site.ask, path, user)) for path in cases for user in ("A", "B")]
    asked += [(path, user, crowd.submit(site.ask, path, user)) for path in cases for user in ("A", "B")]
    assert not [(p, u) for p, u, future in asked if future.result().body != content(p, u, 400_000)]
    for path in cases:
        assert [site.ask(path, user).body == content(path, user, 400_000) for user in ("A", "B", "A")] == [True] * 3


# --- trouble in the middle of a fetch ---------------------------------------------------------------------------------------


class Trouble:
    """A leader and followers of each path, all of which have the head while the origin waits in the middle of the body."""

    def __init__(self, site: Site, paths: list[str], followers: int = 4, leaves: bool = False) -> None:
        self.site, self.paths = site, paths
        self.gates = [site.origin.gate(path) for path in paths]
        self.leaders = [Download(site.port, path, leaves) for path in paths]
        for path in paths:
            site.reached(path)
        for leader in self.leaders:
            assert leader.begun.wait(60)
        self.followers = [Download(site.port, path) for path in paths for _ in range(followers)]
        for follower in self.followers:
            assert follower.begun.wait(60)
            assert follower.got.word == "HIT"

    def end(self) -> None:
        for gate in self.gates:
            gate.set()

    def after(self) -> list[str]:
        """The cache's word for the next request of each path, whose body must be right."""
        words = []
        for path in self.paths:
            got = self.site.ask(path)
            assert got.body is not None and sha(got.body) == sha(content(path, "", int(path.split("/")[2])))
            words.append(got.word)
        return words


def middling(framing: str) -> list[str]:
    return [path_of(framing, size) for size in (1000, 100_000, 400_000, 1_000_000)]


def _purge(site: Site, path: str) -> None:
    site.ask(f"/purge{path}")


def _purge_prefix(site: Site, path: str) -> None:
    site.ask(f"/purge{path}/nothing/*")


def _unsafe(site: Site, path: str) -> None:
    assert site.ask(path, method="POST").body == b"changed"


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("event", [_purge, _purge_prefix, _unsafe])
def test_what_is_invalidated_while_it_is_fetched_arrives_whole_and_is_not_stored(site, framing, event):
    trouble = Trouble(site, middling(framing))
    for path in trouble.paths:
        event(site, path)
    trouble.end()
    assert [each.whole for each in trouble.leaders + trouble.followers] == [True] * 20
    words = trouble.after()
    if event is not _purge_prefix:
        # A prefix that matches nothing voids the fetches under way as well, but in Redis.
        assert words == ["MISS"] * 4
    assert trouble.after() == ["HIT"] * 4


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_leader_that_leaves_takes_nothing_from_its_followers(site, framing):
    trouble = Trouble(site, middling(framing), leaves=True)
    for leader in trouble.leaders:
        leader.leave.set()
        leader.join(60)
    trouble.end()
    assert [each.whole for each in trouble.followers] == [True] * 16
    assert trouble.after() == ["HIT"] * 4


@pytest.mark.parametrize("framing", FRAMINGS)
def test_followers_of_a_killed_leader_get_the_rest_from_the_upstream(site, framing):
    paths = [path_of(framing, 400_000)]
    trouble = Trouble(site, paths, followers=24)
    os.kill(trouble.leaders[0].pid, signal.SIGKILL)
    trouble.end()
    assert not trouble.leaders[0].whole
    for each in trouble.followers:
        assert each.whole or each.pid == trouble.leaders[0].pid or site.gunicorn
    wait_until(lambda: site.ask(paths[0]).body is not None, "the next request", 60)
    assert trouble.after() == ["HIT"]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_disk_that_fills_in_the_middle_cuts_nobody(site, framing):
    """For a writer, a limit on a file's size is like a full disk."""
    trouble = Trouble(site, [path_of(framing, size) for size in (400_000, 1_000_000)])
    workers = site.running.children()
    for pid in workers:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (220_000, resource.RLIM_INFINITY))
    try:
        trouble.end()
        assert [each.whole for each in trouble.leaders + trouble.followers] == [True] * 10
    finally:
        for pid in workers:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    trouble.after()


@pytest.fixture(scope="module", params=[("disk", "ProxyWorker"), ("memory", "gthread")], ids="-".join)
def small(request, tmp_path_factory):
    """A proxy whose store takes 700 KB."""
    store, worker = request.param
    with serving(tmp_path_factory.mktemp("small"), store, worker, options="max_size=700k") as site:
        yield site


@pytest.mark.parametrize("size", [800_000, 1_000_000])
def test_followers_of_a_body_that_turns_out_too_large_get_it_whole(small, size):
    trouble = Trouble(small, [path_of("chunked", size)], followers=8)
    trouble.end()
    assert [each.whole for each in trouble.leaders + trouble.followers] == [True] * 9
    assert trouble.after() + trouble.after() == ["MISS"] * 2


def test_followers_of_a_body_that_is_too_large_for_redis_get_it_whole(tmp_path, redis_server):
    with serving(tmp_path, "redis", redis=redis_server) as site:
        trouble = Trouble(site, [path_of("chunked", LARGE)], followers=4)
        trouble.end()
        assert [each.whole for each in trouble.leaders + trouble.followers] == [True] * 5


@pytest.mark.parametrize("framing", FRAMINGS)
def test_what_cannot_be_committed_arrives_whole(tmp_path, framing):
    """A directory takes the entry's place."""
    with serving(tmp_path, "disk") as site:
        trouble = Trouble(site, middling(framing))
        for path in trouble.paths:
            (site.directory / hashlib.md5(path.encode()).hexdigest()).mkdir()
        trouble.end()
        assert [each.whole for each in trouble.leaders + trouble.followers] == [True] * 20
        assert trouble.after() == ["MISS"] * 4


@pytest.mark.parametrize("framing", FRAMINGS)
def test_what_redis_cannot_take_arrives_whole(tmp_path, framing):
    with RedisServer(tmp_path) as server, serving(tmp_path, "redis", redis=server) as site:
        trouble = Trouble(site, middling(framing))
        server.stop()
        trouble.end()
        assert [each.whole for each in trouble.leaders + trouble.followers] == [True] * 20
        assert trouble.after() == ["MISS"] * 4


# --- herds ------------------------------------------------------------------------------------------------------------------


def test_a_herd_of_conditions_ranges_and_heads_makes_one_fetch(site, crowd):
    path = path_of("length", 300_000)
    body = content(path, "", 300_000)
    tag = f'"{sha(body)[:12]}"'
    kinds = [
        ("GET", {"If-None-Match": tag}, 304, b""),
        ("GET", {"If-None-Match": '"other"'}, 200, body),
        ("GET", {"Range": "bytes=0-9"}, 206, body[:10]),
        ("GET", {"Range": "bytes=200000-"}, 206, body[200_000:]),
        ("GET", {"Range": "bytes=-10"}, 206, body[-10:]),
        ("GET", {"Range": "bytes=300000-"}, 416, b""),
        ("HEAD", {}, 200, b""),
        ("GET", {}, 200, body),
    ]
    gate = site.origin.gate(path)
    asked = [(kind, crowd.submit(site.ask, path, "", kind[0], kind[1])) for _ in range(4) for kind in kinds]
    site.reached(path)
    gate.set()
    for (method, fields, status, expected), future in asked:
        got = future.result()
        assert (got.status, got.body == expected) == (status, True), (method, fields, got.status)
    assert len([each for each in site.origin.recorder.requests if each.target == path]) == 1
