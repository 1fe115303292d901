"""The last changes of a response: add_header, expires, standard pages."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.support import fetch, free_port, run_proxy
from wsgi_proxy import __version__
from wsgi_proxy.config import AddHeader, CoreSettings, Location, parse_expires
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.proxy.response_headers import compile_finisher, expires_fields, keep, redirect_page, standard_page
from wsgi_proxy.response import Response


def exchange(location: Location | None = None) -> Exchange:
    x = Exchange.from_environ({"REQUEST_METHOD": "GET", "wsgi.input": None, "RAW_URI": "/"})
    if location is not None:
        x.location = location
    return x


def test_a_location_that_asks_for_nothing_has_no_finisher() -> None:
    assert compile_finisher(Location()) is None


@pytest.mark.parametrize(("status", "names"), [(200, ["A", "B"]), (404, ["B"]), (500, ["B"]), (304, ["A", "B"])])
def test_add_header_touches_what_nginx_touches(status: int, names: list[str]) -> None:
    fields = (AddHeader("A", lambda x: "1"), AddHeader("B", lambda x: str(x.status), always=True), AddHeader("C", lambda x: ""))
    finisher = compile_finisher(Location(core=CoreSettings(add_header=fields)))
    assert finisher is not None
    response = Response(status)
    x = exchange()
    x.status, x.response = status, response
    finisher(x, response)
    assert [name for name, _ in response.headers] == names
    assert response.header("b") == str(status)


def test_expires_replaces_the_upstreams() -> None:
    finisher = compile_finisher(Location(core=CoreSettings(expires=lambda x: "3600")))
    assert finisher is not None
    response = Response(200, [("Expires", "0"), ("cache-control", "private"), ("X", "y")])
    finisher(exchange(), response)
    assert [name for name, _ in response.headers] == ["X", "Expires", "Cache-Control"]
    assert response.header("cache-control") == "max-age=3600"


@pytest.mark.parametrize(
    ("value", "control"),
    [("max", "max-age=315360000"), ("epoch", "no-cache"), ("-1", "no-cache"), ("0", "max-age=0"), ("60", "max-age=60")],
)
def test_expires_values(value: str, control: str) -> None:
    assert ("Cache-Control", control) in expires_fields(parse_expires(value), 1_000_000_000.0)


@pytest.mark.parametrize("clock", [0, 55_799, 55_800, 55_801, 86_399])
def test_a_time_of_day_is_the_next_one(clock: int) -> None:
    midnight = int(time.mktime((2026, 6, 1, 0, 0, 0, 0, 0, -1)))
    control = dict(expires_fields(parse_expires("@15h30m"), midnight + clock))["Cache-Control"]
    assert control == f"max-age={(55_800 - clock - 1) % 86_400 + 1}"


def test_a_variable_that_is_no_time_changes_nothing() -> None:
    finisher = compile_finisher(Location(core=CoreSettings(expires=lambda x: "junk")))
    assert finisher is not None
    response = Response(200, [("Expires", "0")])
    finisher(exchange(), response)
    assert response.headers == [("Expires", "0")]


def test_expires_off_and_modified() -> None:
    assert expires_fields(("off", 0), 0.0) == []
    assert expires_fields(("modified", 100), 1060.0, "Thu, 01 Jan 1970 00:16:40 GMT")[1] == ("Cache-Control", "max-age=40")


def test_expires_modified_without_a_readable_date_counts_from_now() -> None:
    fields = [("Expires", "Thu, 01 Jan 1970 00:19:20 GMT"), ("Cache-Control", "max-age=100")]
    assert expires_fields(("modified", 100), 1060.0, "yesterday") == fields


def test_standard_pages_name_the_status_and_nothing_else() -> None:
    page = standard_page(exchange(Location(core=CoreSettings(server_tokens="off"))), 502)
    (body,) = page.body
    assert b"<h1>502 Bad Gateway</h1>" in body and b"<center>wsgi_proxy</center>" in body
    assert page.header("content-length") == str(len(body))
    assert standard_page(exchange(), 496).status == 400
    assert redirect_page(exchange(), 302, "http://x/").header("location") == "http://x/"


@pytest.mark.parametrize(
    ("status", "own", "names"),
    [
        (200, [], "Set-Cookie Expires Accept-Ranges Content-Type"),
        (200, ["Content-Type", "Set-Cookie", "Expires"], "Set-Cookie Expires Accept-Ranges Content-Type Set-Cookie"),
        (304, ["ETag"], "Set-Cookie Expires ETag"),
        (404, ["Content-Type"], "Set-Cookie Expires Content-Type"),
    ],
)
def test_what_an_application_gave_along_with_x_accel_redirect(status: int, own: list[str], names: str) -> None:
    x = exchange()
    x.kept = [("Set-Cookie", "app"), ("Expires", "app"), ("Accept-Ranges", "app")]
    x.content_type = "text/app"
    response = Response(status, [(name, "own") for name in own])
    keep(x, response)
    assert " ".join(name for name, _ in response.headers) == names
    assert response.header("expires") == "app"
    assert response.header("content-type") in ("own", "text/app", None)


@pytest.mark.ours_alone("gunicorn's own workers send their own Server")
@pytest.mark.parametrize("http2", [False, True])
def test_the_server_field_has_the_version_unless_server_tokens_is_off(http2: bool, tmp_path: Path) -> None:
    port = free_port()
    text = f"""events {{}} http {{ server {{ listen 127.0.0.1:{port}; http2 on; location / {{ return 204; }}
        location /off {{ server_tokens off; return 204; }} location /build {{ server_tokens build; return 204; }} }}
        server {{ listen 127.0.0.1:{port}; server_name hidden; server_tokens off; location / {{ return 204; }} }} }}"""

    def server(target: str, host: str = "localhost") -> str | None:
        if not http2:
            return fetch(port, target, host=host).get("Server")
        done = subprocess.run(
            ["curl", "-sS", "--http2-prior-knowledge", "-D-", "-H", f"Host: {host}", f"http://127.0.0.1:{port}{target}"],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return next((line[8:] for line in done.stdout.splitlines() if line.startswith("server: ")), None)

    with run_proxy(text, tmp_path):
        assert server("/") == server("/build") == f"wsgi_proxy/{__version__}"
        assert server("/off") == server("/", "hidden") == "wsgi_proxy"


def test_internet_explorer_gets_a_page_in_place_of_a_redirect(tmp_path: Path) -> None:
    """`msie_refresh`, for redirects of the configuration alone."""
    port = free_port()
    text = f"""events {{}} http {{ access_log off; server {{ listen 127.0.0.1:{port}; msie_refresh on;
        location / {{ return 301 text; }} location /space {{ return 302 "space "; }}
        location /page {{ return 301; error_page 301 http://e.test/; }}
        location /off {{ msie_refresh off; return 301 text; }} location /307 {{ return 307 text; }} }} }}"""
    agent = [("User-Agent", "Mozilla/4.0 (MSIE 6.0; Windows)")]
    with run_proxy(text, tmp_path):
        found = fetch(port, "/", headers=agent)
        assert (found.status, found.get("location"), found.get("content-type")) == (200, None, "text/html")
        assert found.body == b'<html><head><meta http-equiv="Refresh" content="0; URL=text"></head><body></body></html>\r\n'
        assert b"URL=space%20" in fetch(port, "/space", headers=agent).body
        assert b"URL=http://e.test/" in fetch(port, "/page", headers=agent).body
        assert [fetch(port, path, headers=agent).status for path in ("/off", "/307")] == [301, 307]
        assert fetch(port, "/").status == 301
