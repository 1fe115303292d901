"""Variables of the response while its fields are being made, and values of `expires`, beside nginx."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Client, Recorded, Recorder, Wire, chunked, reply, request_bytes, wait_until
from tests.support.comparison import Comparison, compare_with_nginx
from wsgi_proxy.http import parse_date

TYPES = ["text/html", "text/css", "image/png", "text/html; charset=utf-8"]
MODIFIED = 1_700_000_000
UNCHANGED = (("If-Modified-Since", "Tue, 14 Nov 2023 22:13:20 GMT"),)
VALUES = """
30d 1h 1d12h 1h30m 90 0 -1 -1h +10m epoch max off junk 1x 5ms 1h1d @ @15h30m @24h @25h @0 @junk + - 1y 1M 2w 1d%2012h 60%20 EPOCH
""".split()

CONF = """
worker_processes 1; error_log stderr crit; events {}
http {
    access_log off;
    log_format sent "$uri $sent_http_connection|$sent_http_keep_alive|$sent_http_transfer_encoding|$sent_http_content_length"
        "|$sent_http_content_type|$sent_http_location|$sent_http_x_up|$sent_http_etag|$status";
    map $sent_http_content_type $expires { default off; text/html epoch; text/css max; ~image/ 1h; }
    map $sent_http_content_type $policy { default ""; ~text/html "default-src 'self'"; }
    map $status $seen { default other; 200 ok; ~^4 client; 302 moved; 304 same; }
    map $arg_v $value { default $arg_v; "1d%2012h" "1d 12h"; "60%20" "60 "; }
    server {
        listen 127.0.0.1:@PORT@; root @FOLDER@/www; server_tokens off; default_type text/plain;
        types { text/html html; text/css css; image/png png; }
        location /typed/ { proxy_pass http://127.0.0.1:UP/; expires $expires; add_header Content-Security-Policy $policy; }
        location /files/ { expires $expires; add_header CSP $policy always; add_header Seen $seen always; }
        location /status/ { proxy_pass http://127.0.0.1:UP/; add_header Seen $seen always; add_header Status $status always; }
        location /chained/ {
            proxy_pass http://127.0.0.1:UP/;
            add_header A 1; add_header B "$sent_http_a+"; expires 1h; add_header C $sent_http_cache_control;
            add_header D $sent_http_x_up; add_header E $sent_http_content_length; add_header F "$sent_http_expires.";
            add_header G "$sent_http_etag."; add_header H "$sent_http_last_modified.";
        }
        location /logged/ { access_log @FOLDER@/@PORT@.log sent; proxy_pass http://127.0.0.1:UP/; }
        location /closed/ { access_log @FOLDER@/@PORT@.log sent; keepalive_timeout 0; return 200 x; }
        location /wire/ {
            keepalive_timeout 65 60; add_header A $sent_http_connection; add_header B $sent_http_keep_alive;
            add_header C "$sent_http_transfer_encoding."; add_header D $sent_http_content_length; proxy_pass http://127.0.0.1:UP/;
        }
        location /colon { add_header X-Frame-Options: DENY always; add_header X-B: "$sent_http_x_none" always; return 200 x; }
        location /charset/ { charset utf-8; add_header T "$sent_http_content_type."; alias @FOLDER@/www/files/; }
        location /expires { expires $value; return 200 x; }
        location /modified { expires modified $value; proxy_pass http://127.0.0.1:UP; }
        location /fixed/modified { expires modified 0; proxy_pass http://127.0.0.1:UP; }
        location /fixed/ago { expires modified -1h; proxy_pass http://127.0.0.1:UP; }
        location /own/200 { return 200 "$status"; }
        location /own/404 { return 404 "$status $seen"; }
        location /own/302 { return 302 /$status; }
        location /own/page { error_page 418 /own/200; return 418; }
        location /error { error_page 404 =202 /files/a.html; return 404; }
        location /named { error_page 404 @page; return 404; }
        location @page { add_header Seen $seen always; add_header Status $status always; return 200 "$status"; }
        location /nothing { add_header Seen "$seen$sent_http_x_none" always; }
        location /trailers/ {
            add_trailer A 1; add_trailer B "$sent_trailer_a+" ; proxy_pass http://127.0.0.1:UP/;
        }
    }
}
"""


def respond(request: Recorded, wire: Wire) -> bytes:
    """Respond with the status and the Content-Type of the query."""
    _, _, query = request.target.partition("?")
    given = dict(part.partition("=")[::2] for part in query.split("&"))
    kind = given.get("type", "text/plain").replace("%20", " ")
    fields = [("Content-Type", kind), ("X-Up", "up"), ("ETag", '"e"'), ("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")]
    status = int(given.get("status", "200"))
    if "chunks" in given:
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"abc")
    return reply(b"" if status in (204, 304) else b"body", status, fields, length=None if status in (204, 304) else -1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sent")


@pytest.fixture(scope="module")
def both(folder: Path) -> Iterator[Comparison]:
    (folder / "www" / "files").mkdir(parents=True)
    for name in ("a.html", "a.css", "a.png", "a.txt"):
        (folder / "www" / "files" / name).write_text(name)
        os.utime(folder / "www" / "files" / name, (MODIFIED, MODIFIED))
    with Recorder(respond) as up, compare_with_nginx(CONF.replace("UP", str(up.port)), folder) as both:
        yield both


def in_place(
    both: Comparison, target: str, method: str = "GET", fields: tuple[tuple[str, str], ...] = ()
) -> list[dict[str, object]]:
    """Return both responses as they are compared, with each Expires as seconds from now, in steps of a minute."""
    seen = []
    for response in both.ask(target, method, fields):
        for at, (name, value) in enumerate(response.headers):
            if name in ("Expires", "F") and not value.endswith(("1970 00:00:01 GMT", "2037 23:55:55 GMT", ".")):
                moment = parse_date(value, time.time())
                assert moment is not None
                response.headers[at] = (name, str(round((moment - time.time()) / 600)))
            elif name == "F":
                response.headers[at] = (name, "set" if len(value) > 1 else "")
            elif name == "Cache-Control" and "@" in target and value.startswith("max-age="):
                response.headers[at] = (name, str(round(int(value[8:]) / 600)))
            elif name == "ETag" and "files" in target:
                response.headers[at] = (name, "some")
        seen.append(both.shown(response))
    return seen


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("status", [200, 404, 301])
def test_a_map_of_the_content_type_decides(both: Comparison, kind: str, status: int) -> None:
    theirs, ours = in_place(both, f"/typed/?status={status}&type={kind.replace(' ', '%20')}")
    assert ours == theirs


@pytest.mark.parametrize("target", ["/files/a.html", "/files/a.css", "/files/a.png", "/files/a.txt", "/files/none", "/files"])
@pytest.mark.parametrize("fields", [(), UNCHANGED])
def test_files_and_pages_have_a_type_and_a_status(both: Comparison, target: str, fields: tuple[tuple[str, str], ...]) -> None:
    theirs, ours = in_place(both, target, "GET", fields)
    assert (ours["status"] == "304 Not Modified") is (bool(fields) and "." in target)
    assert ours == theirs


@pytest.mark.parametrize("target", ["/own/200", "/own/404", "/own/302", "/own/page"])
def test_the_text_of_a_return_shows_its_status(both: Comparison, target: str) -> None:
    theirs, ours = in_place(both, target)
    assert ours == theirs


@pytest.mark.parametrize("status", [200, 204, 302, 404, 500])
def test_the_status_is_known(both: Comparison, status: int) -> None:
    theirs, ours = in_place(both, f"/status/?status={status}")
    assert ours == theirs
    assert ("status", str(status)) in ours["fields"]  # type: ignore[operator]


@pytest.mark.parametrize("target", ["/chained/", "/charset/a.html", "/charset/a.png", "/error", "/named", "/nothing", "/colon"])
def test_a_field_may_use_those_before_it(both: Comparison, target: str) -> None:
    theirs, ours = in_place(both, target)
    assert ours == theirs


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("place", ["/expires", "/modified"])
def test_values_of_expires_from_a_variable(both: Comparison, place: str, value: str) -> None:
    theirs, ours = in_place(both, f"{place}?v={value}")
    assert ours == theirs


@pytest.mark.parametrize("target", ["/fixed/modified", "/fixed/ago", "/expires", "/modified"])
def test_values_of_expires_in_the_file(both: Comparison, target: str) -> None:
    theirs, ours = in_place(both, target)
    assert ours == theirs


WIRES = [(target, close) for target in ("", "?chunks", "?status=302", "?status=204", "?status=404") for close in (True, False)]


@pytest.mark.ours_alone("Connection and the framing are the worker's")
@pytest.mark.parametrize(("target", "close"), WIRES)
def test_fields_of_the_connection_while_fields_are_made(both: Comparison, target: str, close: bool) -> None:
    seen = []
    for port in (both.theirs, both.ours):
        with Client(port) as client:
            seen.append(both.shown(client.exchange(request_bytes(f"/wire/{target}", close=close))))
    assert seen[0] == seen[1]


@pytest.mark.ours_alone("Connection and the framing are the worker's")
def test_fields_of_the_connection_in_a_log(both: Comparison, folder: Path) -> None:
    lines = []
    for port in (both.theirs, both.ours):
        for target, close in WIRES:
            for place in ("logged", "closed"):
                with Client(port) as client:
                    client.exchange(request_bytes(f"/{place}/{target}", close=close))
        log = folder / f"{port}.log"
        wait_until(lambda log=log: len(log.read_text().splitlines()) == 2 * len(WIRES), f"the lines of {log}")
        lines.append(log.read_text().splitlines())
    assert lines[1] == lines[0]
    assert any("|chunked|" in line for line in lines[1])


@pytest.mark.ours_alone("gunicorn's own workers send no trailers")
def test_a_trailer_may_use_those_before_it(both: Comparison) -> None:
    assert both.compare("/trailers/").trailers == [("A", "1"), ("B", "1+")]
