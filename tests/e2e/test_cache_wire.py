"""The cache on the wire: this proxy in front of a recording upstream, with two workers.

Among them the thirteen leaks and errors of a private cache that is put into a proxy (marked below by their number).
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import Client, Recorder, Response, fetch, free_port, reply, request_bytes, run_proxy, wait_until
from wsgi_proxy.http.dates import format_date

CONF = """
worker_processes {workers};
events {{}}
http {{
    proxy_cache_path {path} keys_zone=z:10m inactive=10m {path_options};
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_set_header Host $http_host;
            proxy_cache z;
            add_header X-Cache $upstream_cache_status always;
        }}
        {places}
    }}
}}
"""


def conf_of(origin, port, workers=2, path="cache", path_options="", places=""):
    """The configuration above for a running origin."""
    return CONF.format(
        workers=workers, path=path, path_options=path_options, port=port, upstream=origin.recorder.port, places=places
    )


class Origin:
    """An upstream whose answers are scripted per path; each one numbered in its body."""

    def __init__(self):
        self.pages = {}
        self.recorder = Recorder(self._script)

    def _script(self, request, wire):
        path = request.target.partition("?")[0]
        page = self.pages.get(path) or self.pages["*"]
        if callable(page):
            return page(request, wire)
        status, headers = page
        body = f"{path} {self.count(path)}".encode()
        return reply(b"" if request.method == "HEAD" else body, status, headers, length=len(body))

    def count(self, path):
        return sum(request.target.partition("?")[0] == path for request in self.recorder.requests)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """(port, origin, folder) of one proxy for the tests that need nothing special."""
    folder = tmp_path_factory.mktemp("wire")
    origin, port = Origin(), free_port()
    with origin.recorder:
        with run_proxy(conf_of(origin, port), folder) as running:
            origin.running = running
            origin.folder = folder / "proxy" / "cache"
            yield port, origin


numbers = iter(range(10_000))


@pytest.fixture
def page(site):
    """Return `page(headers, status)`, which scripts a new path and returns a function that requests it."""
    port, origin = site

    def script(*headers, status=200, serve=None):
        path = f"/page{next(numbers)}"
        origin.pages[path] = serve or (status, list(headers))

        def ask(*fields, method="GET", host="h.test", query="", body=b""):
            # Each request has a new connection, so that either worker may get it.
            fields = [("Host", host), *fields]
            return fetch(port, path + query, method=method, headers=fields, body=body)

        ask.path, ask.count = path, lambda: origin.count(path)
        return ask

    return script


FRESH = ("Cache-Control", "max-age=60")


def several(ask, *fields, times=6, **keys):
    """The bodies of several requests; enough of them that both workers answer."""
    return [ask(*fields, **keys).text for _ in range(times)]


def cached(ask, *fields, **keys):
    return len(set(several(ask, *fields, **keys))) == 1


# --- the thirteen -----------------------------------------------------------------------------------------------------------


def test_01_what_is_for_one_user_is_served_to_nobody_else(page):
    assert not cached(page(("Cache-Control", "private, max-age=60")))
    assert not cached(page(FRESH, ("Set-Cookie", "who=me")))
    assert not cached(page(("Cache-Control", "s-maxage=0, max-age=60")))
    ask = page(FRESH)
    mine = ask(("Authorization", "Basic bWU6bWU=")).text
    assert ask().text != mine


def test_02_virtual_hosts_do_not_share(page):
    ask = page(FRESH)
    assert ask(host="one.test").text != ask(host="two.test").text
    assert cached(ask, host="one.test")


def test_03_variants_live_side_by_side(page):
    ask = page(FRESH, ("Vary", "Accept-Language"))
    german, english = ask(("Accept-Language", "de")).text, ask(("Accept-Language", "en")).text
    assert german != english
    assert several(ask, ("Accept-Language", "de")) == [german] * 6
    assert several(ask, ("Accept-Language", "en")) == [english] * 6
    assert ask.count() == 2


def test_04_response_no_cache_is_validated_and_age_and_s_maxage_count(page):
    assert not cached(page(("Cache-Control", "no-cache, max-age=60"), ("ETag", '"a"')))
    assert not cached(page(FRESH, ("Age", "60")))
    assert cached(page(("Cache-Control", "s-maxage=60, max-age=0")))


def test_05_age_is_sent(page):
    ask = page(FRESH, ("Age", "7"))
    ask()
    hit = ask()
    assert hit.get("Age") in ("7", "8", "9")
    assert re.match(r"wsgi-proxy; hit; (collapsed; )?ttl=5\d$", hit.get("Cache-Status"))


def test_06_permanent_redirects_have_an_end(page):
    ask = page(("Location", "/x"), ("Cache-Control", "max-age=4"), status=308)
    assert ask().status == 308 and ask().get("X-Cache") == "HIT"
    wait_until(lambda: ask().get("X-Cache") == "EXPIRED", "the redirect expires")


def test_07_directive_names_have_no_case(page):
    assert cached(page(("cache-control", "MAX-AGE=60")))
    assert not cached(page(("cache-control", "No-Store, Max-Age=60")))


def test_08_no_client_makes_a_stale_answer_fresh(page):
    ask = page(("Cache-Control", "max-age=1"))
    first = ask().text
    time.sleep(1.2)
    assert ask(("Cache-Control", "max-age=999999")).text != first


def test_09_an_unreadable_date_breaks_nothing(page):
    ask = page(FRESH, ("Date", "foo"), ("Expires", "bar"), ("Last-Modified", "baz"))
    assert ask().status == 200 and cached(ask)


@pytest.mark.parametrize("sizes", [[2], [2, 2], [1, 2, 65536, 2], [65536, 2, 300_000, 2]])
def test_10_no_byte_of_the_copy_is_lost(page, sizes):
    pieces = [b"\r\n" if size == 2 else os.urandom(size) for size in sizes]

    def serve(request, wire):
        wire.send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            wire.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
            time.sleep(0.02)
        wire.send(b"0\r\n\r\n")

    ask = page(serve=serve)
    first = ask()
    assert first.body == b"".join(pieces) and first.get("X-Cache") == "MISS"
    for _ in range(3):
        again = ask()
        assert (again.body, again.get("X-Cache"), again.get("Content-Length")) == (first.body, "HIT", str(len(first.body)))


def test_11_fields_and_body_always_belong_together(page):
    def serve(request, wire):
        body = os.urandom(50_000)
        return reply(
            body, 200, [("Cache-Control", "max-age=0, stale-while-revalidate=5"), ("X-Sum", hashlib.md5(body).hexdigest())]
        )

    ask = page(serve=serve)
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: ask(), range(120)))
    assert all(response.get("X-Sum") == hashlib.md5(response.body).hexdigest() for response in responses)


def test_12_twenty_misses_make_one_fetch(page):
    def serve(request, wire):
        time.sleep(0.4)
        return reply(b"once", 200, [FRESH])

    ask = page(serve=serve)
    with ThreadPoolExecutor(20) as pool:
        responses = list(pool.map(lambda _: ask(), range(20)))
    assert {response.text for response in responses} == {"once"} and ask.count() == 1


def test_13_a_broken_store_breaks_no_answer_and_bounds_hold(tmp_path):
    origin, port = Origin(), free_port()
    origin.pages["*"] = lambda request, wire: reply(os.urandom(50_000), 200, [FRESH])
    with origin.recorder, run_proxy(conf_of(origin, port, workers=1, path_options="max_size=500k"), tmp_path):
        folder = tmp_path / "proxy" / "cache"
        for number in range(40):
            assert fetch(port, f"/{number}").status == 200

        def size():
            try:
                return sum(path.stat().st_size for path in folder.glob("[0-9a-f]*"))
            except FileNotFoundError:
                return 0  # it is being swept in this moment: look again

        wait_until(lambda: 100_000 < size() <= 500 * 1024, "the store is within its bound")
        # Now whatever can lie in the way of a store does.
        for path in folder.glob("[0-9a-f]*"):
            path.write_bytes(b"WSGIPXY1 garbage")
        for number in range(40):
            assert len(fetch(port, f"/{number}").body) == 50_000
        log = (tmp_path / "proxy").glob("output*.log")
        assert not any("Traceback" in path.read_text(errors="replace") for path in log)


# --- more that only the whole shows -----------------------------------------------------------------------------------------


def test_a_fetch_streams_to_those_who_wait(page):
    go = threading.Event()

    def serve(request, wire):
        wire.send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\nfirst")
        assert go.wait(30)
        wire.send(b"-last")

    ask = page(serve=serve)
    port = ask.__closure__ and next(cell.cell_contents for cell in ask.__closure__ if isinstance(cell.cell_contents, int))
    request = request_bytes(ask.path, headers=[("Host", "h.test")])
    clients = [Client(port) for _ in range(6)]
    try:
        for client in clients:
            client.send(request)
        for client in clients:
            # All have the first half while the upstream still holds the second back.
            client.read_until(b"first")
        go.set()
        for client in clients:
            client.read_until(b"-last")
    finally:
        for client in clients:
            client.close()
    assert ask.count() == 1


def test_an_invalidation_in_one_worker_holds_in_all(page):
    ask = page(FRESH)
    for _ in range(4):
        before = set(several(ask))
        assert len(before) == 1
        ask(method="POST", body=b"x")
        after = set(several(ask))
        assert len(after) == 1 and before != after


def test_conditions_ranges_and_head_are_answered_from_the_store(page):
    ask = page(FRESH, ("ETag", '"a"'), ("Last-Modified", format_date(1_600_000_000)), ("Accept-Ranges", "bytes"))
    body = ask().text
    assert ask(("If-None-Match", 'W/"a"')).status == 304
    assert ask(("If-Modified-Since", format_date(1_600_000_000))).status == 304
    part = ask(("Range", "bytes=1-3"))
    assert (part.status, part.text, part.get("Content-Range")) == (206, body[1:4], f"bytes 1-3/{len(body)}")
    assert ask(("Range", "bytes=999-")).status == 416
    head = ask(method="HEAD")
    assert head.get("Content-Length") == str(len(body)) and head.body == b""
    assert ask.count() == 1


def test_a_304_freshens_and_goes_unseen(page):
    def serve(request, wire):
        fields = [("Cache-Control", "max-age=1"), ("ETag", '"a"'), ("X-N", str(ask.count()))]
        if request.get("If-None-Match"):
            return reply(b"", 304, fields, length=None)
        return reply(b"body", 200, fields)

    ask = page(serve=serve)
    ask()
    time.sleep(1.2)
    got = ask()
    assert (got.status, got.text, got.get("X-Cache"), got.get("X-N")) == (200, "body", "REVALIDATED", "2")


def test_stale_on_error_and_behind_the_request(page):
    down = []

    def serve(request, wire):
        if down:
            wire.reset()
            return None
        return reply(str(ask.count()).encode(), 200, [("Cache-Control", "max-age=1, stale-if-error=60")])

    ask = page(serve=serve)
    ask()
    down.append(1)
    time.sleep(1.2)
    assert (ask().text, ask().get("X-Cache")) == ("1", "STALE")


def test_a_truncated_answer_is_truncated_for_all_and_stored_for_none(page, site):
    def serve(request, wire):
        if ask.count() > 1:
            return reply(b"whole", 200, [FRESH])
        wire.send(reply(b"half", 200, [FRESH], length=100))
        assert joined.wait(30)
        wire.close()
        return None

    joined = threading.Event()
    ask = page(serve=serve)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(site[0])) for _ in range(3)]
        for client in clients:
            client.send(request_bytes(ask.path, host="h.test", close=True))
        heads = [client.read_until(b"half") for client in clients]
        joined.set()
        assert all(b"Content-Length: 100\r\n" in head for head in heads)
        for client in clients:
            try:
                assert client.read_all() == b""
            except ConnectionError:
                pass  # a reset is as plain
    assert ask().text == "whole"


def test_large_answers_come_from_their_file(page):
    body = os.urandom(3_000_000)
    ask = page(serve=lambda request, wire: reply(body, 200, [FRESH, ("ETag", '"x"'), ("Accept-Ranges", "bytes")]))
    for _ in range(4):
        assert ask().body == body
    assert ask(("Range", "bytes=2000000-2000009")).body == body[2000000:2000010]
    assert ask.count() == 1


def test_the_command_sees_and_purges_what_the_workers_have(page, site):
    _, origin = site
    ask = page(FRESH)
    ask()
    command = [sys.executable, "-m", "wsgi_proxy", "cache"]
    conf = next((origin.folder.parent).glob("*.conf"))
    options = ["-p", f"{origin.folder.parent}/", "-c", str(conf)]
    listed = subprocess.run([*command, "ls", f"*{ask.path}*", *options], capture_output=True, text=True, timeout=120)
    assert ask.path in listed.stdout and "fresh for" in listed.stdout, listed
    purged = subprocess.run([*command, "purge", ask.path, *options], capture_output=True, text=True, timeout=120)
    assert "purged 1 response" in purged.stdout, purged
    assert ask().get("X-Cache") == "MISS"


def test_the_store_survives_workers_and_servers(tmp_path):
    origin, port = Origin(), free_port()
    origin.pages["*"] = (200, [FRESH])
    with origin.recorder:
        conf = conf_of(origin, port)
        with run_proxy(conf, tmp_path) as running:
            first = fetch(port, "/a").text
            # The client has its answer before the store does: the workers may die once it is there.
            wait_until(lambda: list((tmp_path / "proxy" / "cache").glob("[0-9a-f]*")), "the answer is stored")
            children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
            for pid in children:
                os.kill(int(pid), signal.SIGKILL)
            wait_until(lambda: _text(port, "/a") == first, "the new workers answer from the store")
        with run_proxy(conf, tmp_path):
            assert fetch(port, "/a").text == first
    assert origin.count("/a") == 1
    mode = (tmp_path / "proxy" / "cache").stat().st_mode & 0o777
    assert mode == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "proxy" / "cache").rglob("*"))


def _text(port, target):
    try:
        return fetch(port, target).text
    except OSError:
        return None


PLACES = """
    location /valid {{ proxy_pass http://127.0.0.1:{upstream}; proxy_cache z; proxy_cache_valid 200 10m;
        proxy_ignore_headers Cache-Control Set-Cookie; add_header X-Cache $upstream_cache_status; }}
    location /key {{ proxy_pass http://127.0.0.1:{upstream}; proxy_cache z; proxy_cache_key $uri;
        add_header X-Cache $upstream_cache_status; }}
    location /bypass {{ proxy_pass http://127.0.0.1:{upstream}; proxy_cache z; proxy_cache_bypass $http_x_fresh;
        proxy_no_cache $arg_nocache; add_header X-Cache $upstream_cache_status; }}
    location /stale {{ proxy_pass http://127.0.0.1:{upstream}; proxy_cache z; proxy_cache_use_stale http_500 updating;
        proxy_cache_background_update on; add_header X-Cache $upstream_cache_status; }}
    location /purge/ {{ proxy_pass http://127.0.0.1:{upstream}; proxy_cache z; proxy_cache_key $uri;
        proxy_cache_purge $http_x_purge; add_header X-Cache $upstream_cache_status; }}
    location /unlocked {{ proxy_pass http://127.0.0.1:{upstream}; proxy_cache z; proxy_cache_lock off; }}
    location /uses {{ proxy_pass http://127.0.0.1:{upstream}; proxy_cache z; proxy_cache_min_uses 3;
        add_header X-Cache $upstream_cache_status; }}
"""


@pytest.fixture(scope="module")
def nginxish(tmp_path_factory):
    """A proxy with nginx's own directives on a memory zone."""
    folder = tmp_path_factory.mktemp("nginxish")
    origin, port = Origin(), free_port()
    with origin.recorder:
        places = PLACES.format(upstream=origin.recorder.port)
        with run_proxy(conf_of(origin, port, path="memory", places=places), folder):

            def words(target, *fields, times=1, method="GET"):
                responses = [fetch(port, target, method=method, headers=list(fields)) for _ in range(times)]
                return [response.get("X-Cache") for response in responses] if times > 1 else responses[0].get("X-Cache")

            words.port = port
            yield words, origin


def test_nginxs_directives(nginxish):
    words, origin = nginxish
    origin.pages["*"] = (200, [("Cache-Control", "private"), ("Set-Cookie", "a=b")])
    assert words("/valid", times=3) == ["MISS", "HIT", "HIT"]
    origin.pages["*"] = (200, [FRESH])
    assert words("/key?1") == "MISS" and words("/key?2") == "HIT"
    assert words("/bypass", times=2) == ["MISS", "HIT"]
    assert words("/bypass", ("X-Fresh", "1")) == "BYPASS"
    assert words("/bypass?nocache=1", times=2) == ["MISS", "MISS"]
    assert words("/uses", times=4) == ["MISS", "MISS", "MISS", "HIT"]


def test_purging_by_request(nginxish):
    words, origin = nginxish
    origin.pages["*"] = (200, [FRESH])
    assert [words("/purge/a"), words("/purge/b"), words("/purge/a")] == ["MISS", "MISS", "HIT"]
    assert fetch(words.port, "/purge/a", headers=[("X-Purge", "1")]).status == 204
    assert fetch(words.port, "/purge/a", headers=[("X-Purge", "1")]).status == 404
    assert [words("/purge/a"), words("/purge/b")] == ["MISS", "HIT"]
    assert fetch(words.port, "/purge/*", headers=[("X-Purge", "1")]).status == 204
    assert [words("/purge/a"), words("/purge/b")] == ["MISS", "MISS"]


@pytest.mark.parametrize("place", ["/", "/unlocked/"])
def test_only_if_cached_finds_a_response_that_was_read_a_moment_ago(nginxish, place):
    words, origin = nginxish
    origin.pages["*"] = (200, [FRESH])
    head = request_bytes("{}", headers=[("Cache-Control", "only-if-cached")]).decode()
    for number in range(100):
        path = f"{place}moment{number}"
        # Both connections stand before the first request, so that the second follows at once, in another worker half of the time.
        with Client(words.port) as first, Client(words.port) as second:
            assert first.exchange(request_bytes(path)).status == 200
            assert second.exchange(head.format(path).encode()).status == 200, path


def test_use_stale_and_background_update(nginxish):
    words, origin = nginxish
    origin.pages["/stale"] = (200, [("Cache-Control", "max-age=1")])
    assert words("/stale") == "MISS"
    time.sleep(1.2)
    assert words("/stale") == "STALE"
    wait_until(lambda: words("/stale") in ("HIT", "STALE") and origin.count("/stale") >= 2, "the update behind it")
    origin.pages["/stale"] = (500, [])
    time.sleep(1.2)
    assert words("/stale") in ("STALE", "UPDATING", "HIT")


def test_the_memory_zone_is_files_of_ours_alone(nginxish):
    folders = [path for path in Path("/dev/shm").glob("memory.wsgi-proxy-*") if path.owner() == Path.home().owner()]
    assert folders and all(path.stat().st_mode & 0o777 == 0o700 for path in folders)
    assert isinstance(fetch(nginxish[0].port, "/key?1"), Response) and re.fullmatch(r"memory\..*", folders[0].name)
