"""Purges by request, by pattern and by unsafe methods remove exactly the named entries and report failures."""

from __future__ import annotations

import time

import pytest

from tests.support import Recorder, fetch, free_port, reply, run_proxy
from tests.support.caching import Constant, Site, exchange, location
from wsgi_proxy.cache.purge import by_pattern
from wsgi_proxy.cli.cache import main
from wsgi_proxy.config import CacheZone, Config
from wsgi_proxy.errors import ProxyError

FRESH = [("Cache-Control", "max-age=60")]
ON = (Constant("1"),)


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path / "cache")
    site.now = time.time()
    site.responses((200, FRESH, b"x"))
    yield site
    site.cache.close()


def words(site, *targets, **keys):
    return [site.get(target, **keys).word for target in targets]


# --- by request -------------------------------------------------------------------------------------------------------------

CONF = """
events {{}}
http {{
    proxy_cache_path {path} keys_zone=z:10m;
    map $request_method $purging {{ PURGE 1; default 0; }}
    proxy_cache z;
    proxy_cache_valid 200 1h;
    proxy_cache_purge $purging;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{upstream}; }}
        location /method/ {{ proxy_pass http://127.0.0.1:{upstream}; proxy_cache_key $request_method$request_uri; }}
        location /cookie/ {{ proxy_pass http://127.0.0.1:{upstream}; proxy_cache_key $cookie_user$request_uri; }}
        location /field/ {{ proxy_pass http://127.0.0.1:{upstream}; proxy_cache_key "$http_x_user $host $request_uri"; }}
    }}
}}
"""


@pytest.fixture(scope="module", params=["cache", "memory"])
def proxy(request, tmp_path_factory):
    with Recorder(lambda request, wire: reply(b"x")) as upstream:
        port = free_port()
        text = CONF.format(port=port, upstream=upstream.port, path=request.param)
        with run_proxy(text, tmp_path_factory.mktemp("purge")):

            def ask(target, method="GET", *fields, body=b""):
                """The status, and whether the origin was asked."""
                before = len(upstream.requests)
                got = fetch(port, target, method=method, headers=[("Host", "h.test"), *fields], body=body)
                return got.status, len(upstream.requests) > before

            yield ask


HIT, MISS = (200, False), (200, True)


def test_a_star_purges_with_the_default_key(proxy):
    for target in ("/a/1", "/a/2?q", "/b"):
        assert [proxy(target), proxy(target)] == [MISS, HIT]
    assert proxy("/a/*", "PURGE") == (204, False)
    assert proxy("/a/*", "PURGE") == (404, False)
    assert [proxy("/a/1"), proxy("/a/2?q"), proxy("/b")] == [MISS, MISS, HIT]
    assert proxy("/b", "PURGE") == (204, False)
    assert proxy("/b") == MISS


def test_a_purge_finds_what_get_stored_under_a_key_that_names_the_method(proxy):
    assert [proxy("/method/p"), proxy("/method/p")] == [MISS, HIT]
    assert proxy("/method/p", "PURGE") == (204, False)
    assert proxy("/method/p") == MISS


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    ("place", "fields"),
    [
        ("/", [[]]),
        ("/method/", [[]]),
        ("/cookie/", [[("Cookie", "user=a")], [("Cookie", "user=b")], []]),
        ("/field/", [[("X-User", "a")], [("X-User", "b")]]),
    ],
)
def test_an_unsafe_method_voids_its_target_under_every_key(proxy, place, fields, method):
    target = f"{place}{method}?q"
    other = f"{place}{method}-other"
    for each in fields:
        assert [proxy(target, "GET", *each), proxy(target, "GET", *each), proxy(other, "GET", *each)] == [MISS, HIT, MISS]
    assert proxy(target, method, ("X-User", "c"), body=b"new") == MISS
    for each in fields:
        assert [proxy(target, "GET", *each), proxy(target, "GET", *each), proxy(other, "GET", *each)] == [MISS, HIT, HIT]


def test_what_is_fetched_while_its_target_is_voided_is_not_served_later(site):
    site.location = location(key=lambda x: x.environ.get("HTTP_COOKIE", "") + x.target)
    cookie = [("Cookie", "a")]
    under_way = site.ask(exchange("/a", headers=cookie))
    site.get("/a", "POST")
    assert b"".join(under_way.body) == b"x"
    under_way.close()
    assert words(site, "/a", "/a", headers=cookie) == ["MISS", "HIT"]


def test_a_post_that_is_cached_goes_with_its_target(site):
    site.location = location(methods=frozenset({"GET", "HEAD", "POST"}))
    assert words(site, "/a", "/a", method="POST") == ["MISS", "HIT"]
    site.get("/a", "DELETE")
    assert words(site, "/a", method="POST") == ["MISS"]


def test_what_was_voided_stays_so_after_a_restart(site, tmp_path):
    site.location = location(key=lambda x: x.environ.get("HTTP_COOKIE", "") + x.target)
    cookie = [("Cookie", "a")]
    words(site, "/a", "/b", headers=cookie)
    site.get("/a", "POST")
    site.cache.close()
    later = Site(tmp_path / "cache")
    later.now, later.location = site.now, site.location
    later.responses((200, FRESH, b"y"))
    assert words(later, "/a", "/b", headers=cookie) == ["MISS", "HIT"]
    later.cache.close()


def test_a_prefix_of_a_configured_key_means_keys_alone(site):
    """A key that is a target is not compared with the targets of answers under other keys."""
    words(site, "/a/1")
    site.location = location(key=lambda x: x.target)
    words(site, "/a/2")
    site.location = location(key=lambda x: x.target, purge=ON)
    assert site.get("/a/*").status == 204
    site.location = location()
    assert words(site, "/a/1") == ["HIT"]


def test_a_purge_that_cannot_be_carried_out_is_a_500(site, tmp_path):
    words(site, "/a")
    [path] = (tmp_path / "cache").glob("[0-9a-f]*")
    path.unlink()
    path.mkdir()
    (path / "x").write_text("")
    site.location = location(purge=ON)
    with pytest.raises(ProxyError) as raised:
        site.get("/a")
    assert raised.value.status == 500 and "cannot be purged" in str(raised.value)


def test_without_its_storage_a_purge_is_a_500(tmp_path):
    (tmp_path / "file").write_text("")
    site = Site(tmp_path, zone=CacheZone("z", str(tmp_path / "file" / "cache")))
    site.responses((200, FRESH, b"x"))
    assert site.get("/a").status == 200
    site.location = location(purge=ON)
    with pytest.raises(ProxyError):
        site.get("/a")
    assert site.fetches == 1


# --- by pattern -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "gone"),
    [
        ("http://h.test/a", ["/a"]),
        ("/a", ["/a"]),
        ("http://h.test/l?i[]=1", ["/l?i[]=1"]),
        ("/l?i[]=1", ["/l?i[]=1"]),
        ("http://h.test/l?i[[]]=*", ["/l?i[]=1", "/l?i[]=2"]),
        ("/q?b", ["/q?b"]),
        ("/q[?x]b", ["/q?b", "/qxb"]),
        ("*", ["/a", "/l?i[]=1", "/l?i[]=2", "/q?b", "/qxb"]),
        ("http://other.test/a", []),
    ],
)
def test_the_command_finds_what_is_meant(site, capsys, pattern, gone):
    targets = ["/a", "/l?i[]=1", "/l?i[]=2", "/q?b", "/qxb"]
    # The default key has where the location passes its requests behind the URL.
    site.location = location(key=lambda x: f"http://h.test{x.target} http://upstream")
    words(site, *targets)
    config = Config(path="nginx.conf", cache_zones={"z": site.zone})
    assert main(["purge", pattern], config) == (0 if gone else 1)
    assert f"purged {len(gone)} response" in capsys.readouterr().out
    assert words(site, *targets) == ["MISS" if target in gone else "HIT" for target in targets]


def test_an_answer_that_varies_goes_whole(site):
    site.responses((200, [*FRESH, ("Vary", "A")], b"x"))
    for value in ("1", "2"):
        words(site, "/v", headers=[("A", value)])
    assert by_pattern(site.cache.zones()[0], "http://h.test/v") == 2
    assert words(site, "/v", headers=[("A", "1")]) == ["MISS"]


def test_a_command_that_fails_says_so(site, tmp_path, capsys):
    words(site, "/a", "/b")
    [entry] = [each for each in site.cache.zones()[0].entries() if each.uri == "/a"]
    zone = site.cache.zones()[0]
    # The entry is found by its content, and becomes a directory before it is removed.
    delete = zone.store.delete

    def failing(name):
        if name == entry.name:
            raise PermissionError(13, "Permission denied")
        return delete(name)

    zone.store.delete = failing
    with pytest.raises(PermissionError):
        by_pattern(zone, "*")
    assert words(site, "/b") == ["MISS"]
