"""Stored errors behind `proxy_intercept_errors`, requests below `proxy_cache_min_uses`, and the entries that are validated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Recorded, Recorder, Response, Wire, fetch, free_port, reply, run_proxy, wait_until

PAGES: dict[str, tuple[str, list[tuple[str, str]]]] = {}


def origin(request: Recorded, wire: Wire) -> bytes:
    path = request.target.partition("?")[0]
    status, fields = PAGES.get(path, ("200 OK", []))
    return reply(b"" if request.method == "HEAD" else b"body", status, fields, length=4)


class Site:
    def __init__(self, port: int, up: Recorder) -> None:
        self.port = port
        self.up = up

    def get(self, target: str, **fields: str) -> Response:
        return fetch(self.port, target, headers=[(name.replace("_", "-"), value) for name, value in fields.items()])

    def count(self, target: str) -> int:
        return sum(each.target == target for each in self.up.requests)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    port = free_port()
    PAGES.clear()
    with Recorder(origin) as up:
        conf = f"""events {{}} http {{ access_log off; proxy_cache_path {tmp_path}/c keys_zone=c:1m; server {{ listen {port};
            proxy_cache c; proxy_cache_key $uri; proxy_cache_bypass $arg_bypass; proxy_cache_purge $http_purge;
            add_header X-Cache $upstream_cache_status always;
            location / {{ proxy_pass {up.url}; proxy_cache_valid 200 404 1h; proxy_cache_valid 403 1s;
                proxy_intercept_errors on; error_page 404 403 = @page; }}
            location @page {{ return 410 page; }}
            location /twice {{ proxy_pass {up.url}; proxy_cache_valid 1h; proxy_cache_min_uses 2; }}
            location /short {{ proxy_pass {up.url}; proxy_cache_valid 201 200 1s; proxy_cache_revalidate on; }} }} }}"""
        with run_proxy(conf, tmp_path):
            yield Site(port, up)


def test_an_intercepted_error_is_remembered(site: Site) -> None:
    PAGES["/a"] = ("404 Not Found", [])
    assert [site.get("/a").status for _ in range(3)] == [410, 410, 410]
    assert site.count("/a") == 1
    assert site.get("/a").get("x-cache") == "HIT"
    # A bypass asks the upstream, and what it stores is served from then on.
    del PAGES["/a"]
    assert site.get("/a?bypass=1").body == b"body"
    assert site.get("/a").body == b"body"
    assert site.count("/a") == 1


def test_a_remembered_error_ends(site: Site) -> None:
    PAGES["/b"] = ("403 Forbidden", [])
    assert site.get("/b").status == 410
    del PAGES["/b"]
    wait_until(lambda: site.get("/b").status == 200, "the end of the error", 30)


@pytest.mark.parametrize(
    "fields", [[("Cache-Control", "no-store")], [("Cache-Control", "private")], [("Set-Cookie", "a=b")], [("Vary", "Accept")]]
)
def test_an_error_that_may_not_be_stored_is_asked_for_again(site: Site, fields: list[tuple[str, str]]) -> None:
    PAGES["/c"] = ("404 Not Found", fields)
    assert [site.get("/c").status for _ in range(2)] == [410, 410]
    assert site.count("/c") == 2


def test_a_purge_forgets_the_error(site: Site) -> None:
    PAGES["/d"] = ("404 Not Found", [])
    site.get("/d")
    site.get("/d", Purge="1")
    site.get("/d")
    assert site.count("/d") == 2


def test_a_request_below_min_uses_is_sent_as_it_is(site: Site) -> None:
    site.get("/twice", Range="bytes=1-2", If_None_Match='"x"')
    first = site.up.requests[-1]
    assert (first.get("range"), first.get("if-none-match")) == ("bytes=1-2", '"x"')
    assert site.get("/twice", Range="bytes=1-2").body == b"od"
    assert site.up.requests[-1].get("range") is None
    assert site.get("/twice").get("x-cache") == "HIT"
    assert site.count("/twice") == 2


@pytest.mark.parametrize(("status", "validated"), [("200 OK", True), ("201 Created", False)])
def test_only_responses_with_a_content_of_the_target_are_validated(site: Site, status: str, validated: bool) -> None:
    PAGES["/short"] = (status, [("ETag", '"a"'), ("Last-Modified", "Mon, 02 Mar 2015 17:20:58 GMT")])
    site.get("/short")
    wait_until(lambda: (site.get("/short"), site.count("/short"))[1] == 2, "the end of the entry", 30)
    second = site.up.requests[-1]
    assert (second.get("if-none-match") == '"a"') is validated
    assert (second.get("if-modified-since") is not None) is validated
