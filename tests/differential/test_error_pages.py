"""Statuses, reason phrases and pages, `error_page` at every place that can end a request, beside nginx: byte for byte."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import Recorded, Recorder, Wire, reply, request_bytes, send_raw
from tests.support.comparison import Comparison, compare_with_nginx

# 408, 444 and 499 end the connection without a response; a 304 has no Content-Type here (RFC 9110, section 15.4.5).
CODES = [code for code in (*range(200, 600), 600, 999) if code not in (304, 408, 444, 499)]

PLACES = """
location /login/ { error_page 401 @login; return 401; }
location @login { return 302 /sign-in?from=$uri; }
location /rewritten/ { error_page 401 @rewritten; return 401; }
location @rewritten { rewrite ^ /elsewhere redirect; }
location /permanent/ { error_page 404 /moved/; return 404; }
location /moved/ { return 301 http://other.test/; }
location /coded/ { error_page 404 =200 /moved/; return 404; }
location /text/ { error_page 401 @text; return 401; }
location @text { return 200 "text $status"; }
location /inner/ { error_page 404 @inner; return 404; }
location @inner { return 503; }
location /inner2/ { error_page 404 = @inner; return 404; }
location /inner3/ { error_page 404 =410 @inner; return 404; }
location /our302/ { error_page 302 /page.html; return 302 /there; }
location /our302b/ { error_page 302 =200 /page.html; return 302 /there; }
location /our302c/ { error_page 302 @text; return 302 /there; }
location /our302d/ { error_page 302 http://far.test/; return 302 /there; }
location /our301/ { error_page 301 =307 /moved/; return 301 /there; }
location /dir { error_page 301 /page.html; }
location /always/ { add_header A $status always; return 302 /x; }
location /relative/ { absolute_redirect off; return 302 /x; }
location /sent/ { add_header A "$sent_http_location." always; return 302 /x; }
location /empty/ { return 302; }
location /word/ { return 302 word; }
location /recursive/ { recursive_error_pages on; error_page 404 /recursive2/; return 404; }
location /recursive2/ { error_page 403 /page.html; return 403; }
location /recursive3/ { recursive_error_pages on; error_page 404 @deny; return 404; }
location @deny { recursive_error_pages on; error_page 403 =418 /page.html; deny all; }
location /intercepted/ { proxy_intercept_errors on; error_page 401 @login; error_page 403 404 /page.html;
    error_page 500 =200 /page.html;
    error_page 302 =203 /page.html; error_page 503 @login; proxy_pass http://127.0.0.1:UP/; }
location /intercepted2/ { proxy_intercept_errors on; error_page 401 =403 /page.html; proxy_pass http://127.0.0.1:UP/; }
location /intercepted3/ { error_page 404 /intercepted4/?status=404; return 404; }
location /intercepted4/ { proxy_intercept_errors on; error_page 404 /page.html; proxy_pass http://127.0.0.1:UP/; }
location /basic/ { auth_basic realm; auth_basic_user_file /dev/null; error_page 401 @login; }
location /basic2/ { auth_basic realm; auth_basic_user_file /dev/null; error_page 401 =200 /page.html; }
location /try/ { try_files /none =404; error_page 404 @login; }
location /ranged/ { etag off; error_page 416 /page.html; alias @FOLDER@/www/; }
location /unranged/ { alias @FOLDER@/www/; }
location /upstream/ { proxy_pass http://127.0.0.1:UP/; }
location /small/return/ { client_max_body_size 5; return 200 ok; }
location /small/redirect/ { client_max_body_size 5; return 302 /x; }
location /small/proxied/ { client_max_body_size 5; proxy_pass http://127.0.0.1:UP/; }
location /small/page/ { client_max_body_size 5; error_page 413 /page.html; return 200 ok; }
location /small/named/ { client_max_body_size 5; error_page 413 @text; return 200 ok; }
location /small/dir/ { client_max_body_size 5; proxy_pass http://127.0.0.1:UP/; }
location /small/lone/ { error_page 404 /small/return/; return 404; }
location /unpadded/ { msie_padding off; return 404; }
location /silent/try { try_files /none =408; }
location /silent/page { error_page 404 = @silent; error_page 408 444 /page.html; return 404; }
location @silent { return 408; }
location /silent/intercepted { proxy_intercept_errors on; error_page 408 444 /page.html; proxy_pass http://127.0.0.1:UP/; }
location /spoken/page { error_page 404 =444 /page.html; return 404; }
location /posted/ { error_page 405 =200 /page.html; alias @FOLDER@/www/; }
"""
CONF = """
worker_processes 1; error_log stderr crit; events {}
http {
    access_log off; server_tokens off; large_client_header_buffers 2 1k; client_header_buffer_size 1k;
    server {
        listen 127.0.0.1:@PORT@; root @FOLDER@/www;
        CODES
        PLACES
    }
    server { listen 127.0.0.1:@PORT@; server_name early.test; return 200 early; }
}
"""
EARLY = """
worker_processes 1; error_log stderr crit; events {}
http {
    access_log off; server_tokens off; large_client_header_buffers 2 1k; client_header_buffer_size 1k;
    server {
        listen 127.0.0.1:@PORT@; root @FOLDER@/www; add_header A "$status $uri" always;
        error_page 400 /page.html; error_page 405 @named; error_page 414 =200 /page.html; error_page 494 /proxied/;
        location @named { return 200 "named $status"; }
        location /proxied/ { proxy_pass http://127.0.0.1:UP/; }
    }
}
"""
PLAIN = """
worker_processes 1; error_log stderr crit; events {}
http {
    access_log off; server_tokens off; large_client_header_buffers 2 1k; client_header_buffer_size 1k;
    server { listen 127.0.0.1:@PORT@; add_header A $status always; }
}
"""


def respond(request: Recorded, wire: Wire) -> bytes:
    """Respond with the status of the query, and with fields that belong to it."""
    _, _, query = request.target.partition("?")
    given = dict(part.partition("=")[::2] for part in query.split("&"))
    status = given.get("status", "200")
    fields = [("Content-Type", "text/x-up")]
    fields += [("WWW-Authenticate", "Basic realm=a"), ("WWW-Authenticate", "Bearer")] if status == "401" else []
    fields += [("Location", f"http://127.0.0.1:{wire.sock.getsockname()[1]}/x")] if status.startswith("3") else []
    return reply(b"up", f"{status} {given.get('reason', 'Chosen')}".replace("%20", " "), fields)


@pytest.fixture(scope="module")
def up() -> Iterator[Recorder]:
    with Recorder(respond) as recorder:
        yield recorder


def running(conf: str, up: Recorder, factory: pytest.TempPathFactory) -> Iterator[Comparison]:
    folder = factory.mktemp("pages")
    (folder / "www" / "dir").mkdir(parents=True)
    (folder / "www" / "page.html").write_text("the page")
    text = conf.replace("PLACES", PLACES).replace("UP", str(up.port))
    text = text.replace(
        "CODES",
        " ".join(f"location = /{n} {{ return {n}; }} location = /text/{n} {{ return {n} t; }}" for n in [*CODES, 408, 444, 499]),
    )
    with compare_with_nginx(text, folder) as both:
        yield both


@pytest.fixture(scope="module")
def both(up: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comparison]:
    yield from running(CONF, up, tmp_path_factory)


@pytest.fixture(scope="module")
def early(up: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comparison]:
    yield from running(EARLY, up, tmp_path_factory)


@pytest.fixture(scope="module")
def plain(up: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comparison]:
    yield from running(PLAIN, up, tmp_path_factory)


def test_every_status(both: Comparison) -> None:
    differences = []
    for code in CODES:
        for target in (f"/{code}", f"/text/{code}"):
            theirs, ours = both.ask(target)
            if both.shown(theirs) != both.shown(ours):
                differences.append((target, both.shown(theirs), both.shown(ours)))
    assert not differences, f"{len(differences)}: {differences[:3]}"


TARGETS = [
    "/login/", "/rewritten/", "/permanent/", "/coded/", "/text/", "/inner/", "/inner2/", "/inner3/", "/our302/", "/our302b/",
    "/our302c/", "/our302d/", "/our301/", "/dir", "/always/", "/relative/", "/sent/", "/empty/", "/word/",
    "/recursive/", "/recursive3/", "/basic/", "/basic2/", "/try/", "/intercepted3/",
    *(f"/intercepted/?status={status}" for status in (200, 302, 401, 403, 404, 410, 500, 503)),
    "/intercepted2/?status=401", "/upstream/?status=302", "/upstream/?status=250&reason=Fine%20here",
]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("target", TARGETS)
def test_places(both: Comparison, target: str, method: str) -> None:
    both.compare(target, method)


SILENT = ["/408", "/444", "/499", "/silent/try", "/silent/page", "/silent/intercepted?status=408"]
SPOKEN = ["/text/408", "/text/444", "/text/499", "/spoken/page", *(f"/upstream/?status={code}" for code in (408, 444, 499))]


@pytest.mark.parametrize("target", [*SILENT, *SPOKEN])
def test_statuses_without_a_response(both: Comparison, target: str) -> None:
    data = request_bytes(target, close=True)
    theirs, ours = (send_raw(port, data, timeout=30.0) for port in (both.theirs, both.ours))
    assert (theirs == b"", ours == b"") == ((target in SILENT),) * 2
    if theirs:
        both.compare(target)


AGENTS = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:1.0) Gecko/2010 Firefox/120.0", "Chrome/1", "Gecko/1 Chrome/1", "curl/8",
    "Mozilla/4.0 (compatible; MSIE 6.0; Windows)", "MSIE 6", "MSIE 6.0", "Opera MSIE 6.0 Chrome/1", "",
]  # fmt: skip


@pytest.mark.parametrize("agent", AGENTS)
def test_short_pages_are_padded_for_some_browsers(both: Comparison, agent: str) -> None:
    for target in ("/404", "/302", "/502", "/text/404", "/418", "/unpadded/404"):
        both.compare(target, fields=[("User-Agent", agent)])


@pytest.mark.parametrize("place", ["ranged", "unranged"])
def test_a_range_that_cannot_be_satisfied(both: Comparison, place: str) -> None:
    response = both.compare(f"/{place}/page.html", fields=[("Range", "bytes=100-200")])
    assert response.get("content-range") == "bytes */8"


@pytest.mark.parametrize("place", ["return", "redirect", "proxied", "page", "named", "dir", "lone"])
@pytest.mark.parametrize("size", [5, 6])
def test_the_size_of_a_body_comes_first(both: Comparison, place: str, size: int) -> None:
    both.compare(f"/small/{place}/", "POST", body=b"x" * size)


HEADS = {
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "bad host": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "bad line": b"GET\r\n\r\n",
    "bad method": b"G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n",
    "bad version": b"GET / HTTP/1.x\r\nHost: a\r\n\r\n",
    "bad target": b"GET x HTTP/1.1\r\nHost: a\r\n\r\n",
    "bad escape": b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
    "above the root": b"GET /../x HTTP/1.1\r\nHost: a\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "bad length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    "both framings": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "trace": b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
    "long line": b"GET /" + b"x" * 2000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "long field": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 2000 + b"\r\n\r\n",
    "long head": b"HEAD /" + b"x" * 2000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.ours_alone("gunicorn's own workers answer a malformed head themselves")
@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("where", ["early", "plain"])
def test_a_head_that_is_refused(request: pytest.FixtureRequest, where: str, name: str) -> None:
    both: Comparison = request.getfixturevalue(where)
    method = "HEAD" if HEADS[name].startswith(b"HEAD") else "GET"
    head = HEADS[name].replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    theirs, ours = both.send(head, method)
    assert both.shown(ours) == both.shown(theirs)


@pytest.mark.ours_alone("gunicorn's own workers answer a malformed head themselves")
def test_nothing_of_a_refused_request_reaches_an_upstream(early: Comparison, up: Recorder) -> None:
    early.send(HEADS["long field"])
    assert [request.get_all("x") for request in up.requests[-2:]] == [[], []]
