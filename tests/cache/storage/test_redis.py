"""A real Redis as the storage: two proxies share responses, fills and invalidations, and work without it."""

import logging
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import Recorder, fetch, free_ports, reply, run_proxy
from tests.support.caching import Site, exchange, location
from wsgi_proxy.cache.purge import by_pattern
from wsgi_proxy.cache.storage.redis import RedisStorage, RedisZone
from wsgi_proxy.config import CacheZone
from wsgi_proxy.errors import ProxyError

FRESH = [("Cache-Control", "max-age=60")]
TAG = [*FRESH, ("ETag", '"a"')]


class Server:
    """A redis-server for these tests on a unix socket."""

    def __init__(self, directory):
        self.socket = directory / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.start()

    def start(self):
        command = ["redis-server", "--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(command, cwd=self.socket.parent, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self.socket.exists():
            assert time.monotonic() < deadline and self.process.poll() is None
            time.sleep(0.01)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


names = iter(range(1000))


@pytest.fixture
def sites(server, tmp_path, monkeypatch):
    """Two machines: each with its own directory to meet in, one Redis."""
    zone = CacheZone(f"zone{next(names)}", server.url)
    made = []
    for number in range(2):
        directory = tmp_path / f"machine{number}"
        directory.mkdir(mode=0o700)
        monkeypatch.setattr("wsgi_proxy.shm.segment.directory", lambda directory=directory: str(directory))
        made.append(Site(directory, zone=zone))
    yield made
    for site in made:
        site.cache.close()


def test_one_machine_finds_what_another_stored(sites):
    one, two = sites
    one.responses((200, TAG, b"one"))
    two.responses((500, [], b"not asked"))
    one.get("/")
    assert (two.get("/").word, two.get("/").body) == ("HIT", b"one")
    assert two.get("/", headers=[("If-None-Match", '"a"')]).status == 304


def test_variants_and_validation(sites):
    one, two = sites
    vary = [*TAG, ("Vary", "A")]
    one.responses((200, vary, b"1"), (200, vary, b"2"), (304, [*vary, ("X", "new")], b""))
    assert [one.get("/", headers=[("A", a)]).body for a in "12"] == [b"1", b"2"]
    assert [two.get("/", headers=[("A", a)]).body for a in "12"] == [b"1", b"2"]
    one.now += 61
    two.now += 61
    assert one.get("/", headers=[("A", "1")]).word == "REVALIDATED"
    hit = two.get("/", headers=[("A", "1")])
    assert (hit.word, hit["X"], hit.body) == ("HIT", "new", b"1")


def test_an_invalidation_holds_on_every_machine_and_against_fetches_under_way(sites):
    one, two = sites
    one.responses((200, FRESH, b"old"), (200, FRESH, b"older"), (200, FRESH, b"new"))
    two.responses((200, [], b""))
    one.get("/a")
    under_way = one.ask(exchange("/b"))
    two.get("/a", "POST")
    two.get("/b", "POST")
    assert b"".join(under_way.body) == b"older"
    under_way.close()
    assert one.get("/b").word == "MISS"
    assert one.get("/a").word == "MISS"


def test_misses_on_two_machines_make_one_fetch(sites):
    one, two = sites
    began, go = threading.Event(), threading.Event()

    def slow(method):
        began.set()
        assert go.wait(30)
        return one._maker(200, FRESH, b"one")(method)

    one.origin.responses = [slow]
    two.responses((200, FRESH, b"two"))
    got = []
    threads = [threading.Thread(target=lambda: got.append(one.get("/").body))]
    threads[0].start()
    assert began.wait(30)
    threads += [threading.Thread(target=lambda: got.append(two.get("/").body)) for _ in range(3)]
    for thread in threads[1:]:
        thread.start()
    time.sleep(0.1)
    go.set()
    for thread in threads:
        thread.join(30)
    assert got == [b"one"] * 4 and two.fetches == 0


def test_an_answer_that_cannot_be_stored_frees_the_other_machine(sites):
    one, two = sites
    began, go = threading.Event(), threading.Event()

    def slow(method):
        began.set()
        assert go.wait(30)
        return one._maker(200, [("Cache-Control", "no-store")], b"one")(method)

    one.origin.responses = [slow]
    two.responses((200, FRESH, b"two"))
    got = []
    threads = [threading.Thread(target=lambda: got.append(one.get("/").body))]
    threads[0].start()
    assert began.wait(30)
    threads.append(threading.Thread(target=lambda: got.append(two.get("/").body)))
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join(30)
    assert sorted(got) == [b"one", b"two"]


def test_purging_by_pattern(sites):
    one, two = sites
    one.responses((200, FRESH, b"x"))
    for target in ("/a/1", "/a/2", "/b"):
        one.get(target)
    zone = two.cache.zones()[0]
    assert {entry.uri for entry in zone.entries()} == {"/a/1", "/a/2", "/b"}
    assert by_pattern(zone, "/a/*") == 2
    assert [one.get(target).word for target in ("/a/1", "/b")] == ["MISS", "HIT"]


def test_redis_away_is_a_miss_and_one_line(tmp_path, monkeypatch, caplog):
    server = Server(tmp_path)
    monkeypatch.setattr("wsgi_proxy.shm.segment.directory", lambda: str(tmp_path))
    monkeypatch.setattr("wsgi_proxy.cache.storage.redis._REST", 0.05)
    site = Site(tmp_path, zone=CacheZone("away", server.url))
    try:
        site.responses((200, FRESH, b"x"))
        site.get("/")
        server.stop()
        with caplog.at_level(logging.INFO, "wsgi_proxy"):
            assert [site.get("/").body for _ in range(3)] == [b"x"] * 3
            site.location = location()
            site.get("/", "POST")
        assert len(caplog.records) == 1 and "Redis" in caplog.text
        server.start()
        time.sleep(0.06)
        assert [site.get("/").word for _ in range(2)] == ["MISS", "HIT"]
    finally:
        site.cache.close()
        server.stop()


def test_what_is_not_one_of_ours_is_a_miss(sites, caplog):
    one, _ = sites
    one.responses((200, FRESH, b"x"))
    one.get("/")
    zone = one.cache.zones()[0]
    assert isinstance(zone, RedisZone)
    name = next(iter(zone._redis.names()))
    for damaged in (b"foreign", zone._redis.get(name)[:-1]):
        zone._redis.set(name, damaged)
        assert one.get("/").word == "MISS"
        assert one.get("/").word == "HIT"


def test_the_storage_by_cachecontrols_interface(server):
    storage = RedisStorage(server.url, "contract")
    assert storage.get("k") is None
    storage.set("k", b"v", 10)
    assert storage.get("k") == b"v"
    storage.delete("k")
    assert storage.get("k") is None
    storage.close()


# --- on the wire ------------------------------------------------------------------------------------------------------------

CONF = """
worker_processes 2;
events {{}}
http {{
    proxy_cache_path {url} keys_zone=wire:10m;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_set_header Host $http_host;
            proxy_cache wire;
            add_header X-Cache $upstream_cache_status always;
        }}
    }}
}}
"""


def test_two_proxies_are_one_cache(server, tmp_path):
    def origin(request, wire):
        time.sleep(0.3)
        return reply(b"%d" % len(upstream.requests), 200, FRESH)

    ports = free_ports(2)
    with Recorder(origin) as upstream:
        one, two = (CONF.format(url=server.url, port=port, upstream=upstream.port) for port in ports)
        with run_proxy(one, tmp_path / "one"), run_proxy(two, tmp_path / "two"), ThreadPoolExecutor(12) as pool:

            def ask(number, target="/", method="GET"):
                return fetch(ports[number % 2], target, method=method, headers=[("Host", "h.test")])

            assert {response.text for response in pool.map(ask, range(12))} == {"1"} and len(upstream.requests) == 1
            assert [ask(number).get("X-Cache") for number in range(4)] == ["HIT"] * 4
            ask(0, method="POST")
            assert ask(1).text == "3"
            assert [ask(number).text for number in range(4)] == ["3"] * 4


@pytest.mark.parametrize("pattern", ["/a/*", "/a/1", "*"])
def test_a_purge_holds_for_fetches_under_way_on_every_machine(sites, pattern):
    one, two = sites
    one.responses((200, FRESH, b"old"))
    under_way = one.ask(exchange("/a/1"))
    by_pattern(two.cache.zones()[0], pattern)
    assert b"".join(under_way.body) == b"old"
    under_way.close()
    assert [one.get("/a/1").word, one.get("/a/1").word, two.get("/a/1").word] == ["MISS", "HIT", "HIT"]


def test_an_unsafe_request_voids_its_target_under_every_key_on_every_machine(sites):
    one, two = sites
    cookie = [("Cookie", "a")]
    for site in sites:
        site.responses((200, FRESH, b"x"))
        site.location = location(key=lambda x: x.environ.get("HTTP_COOKIE", "") + x.target)
    assert [site.get("/a", headers=cookie).word for site in sites] == ["MISS", "HIT"]
    under_way = one.ask(exchange("/b", headers=cookie))
    two.get("/a", "POST")
    two.get("/b", "POST")
    list(under_way.body)
    under_way.close()
    for target in ("/a", "/b"):
        assert [site.get(target, headers=cookie).word for site in sites] == ["MISS", "HIT"]


def test_a_purge_without_redis_is_a_500(tmp_path, monkeypatch):
    server = Server(tmp_path)
    monkeypatch.setattr("wsgi_proxy.shm.segment.directory", lambda: str(tmp_path))
    site = Site(tmp_path, zone=CacheZone("off", server.url))
    try:
        site.responses((200, FRESH, b"x"))
        site.get("/a")
    finally:
        server.stop()
    for key in ("/a", "/*"):
        site.location = location(purge=(lambda x: "1",), key=lambda x, key=key: key)
        with pytest.raises(ProxyError) as raised:
            site.get("/a")
        assert raised.value.status == 500
    with pytest.raises(OSError, match="Redis"):
        by_pattern(site.cache.zones()[0], "*")
    site.cache.close()
