"""uwsgi to a real uWSGI, beside nginx: the same file, the same application, the same requests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest

from tests.support import request_bytes
from tests.support.comparison import Comparison, compare_with_nginx
from tests.support.uwsgi import needs_uwsgi, run_uwsgi

pytestmark = needs_uwsgi

APP = """
import hashlib, json, os, signal, time
from urllib.parse import parse_qs

LEFT_OUT = ("REMOTE_PORT", "SERVER_PORT", "HTTP_HOST")

def application(environ, start_response):
    query = parse_qs(environ.get("QUERY_STRING", ""))
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    fields = [tuple(each.split(":", 1)) for each in query.get("h", [])]
    status = query.get("status", ["200 OK"])[0]
    if "size" in query:
        start_response(status, [("Content-Type", "text/plain"), *fields])
        return pieces(int(query["size"][0]), "slow" in query, "die" in query)
    told = {name: value for name, value in environ.items() if isinstance(value, str) and name not in LEFT_OUT}
    told = {name: value for name, value in told.items() if not name.startswith(("uwsgi.", "wsgi."))}
    data = json.dumps([told, len(body), hashlib.sha256(body).hexdigest()], sort_keys=True).encode()
    start_response(status, [("Content-Type", "application/json"), *fields])
    return [data]

def pieces(size, slow, die):
    for at in range(0, size, 8192):
        yield b"x" * min(8192, size - at)
        if slow:
            time.sleep(0.001)
        if die and at > size / 2:
            os.kill(os.getpid(), signal.SIGKILL)
"""

CONF = """
events {}
http {
    access_log off;
    upstream app { server unix:@FOLDER@/none.sock; server unix:@FOLDER@/uwsgi.sock backup; }
    uwsgi_cache_path cache keys_zone=pages:1m;
    uwsgi_param QUERY_STRING $query_string;
    uwsgi_param REQUEST_METHOD $request_method;
    uwsgi_param CONTENT_TYPE $content_type;
    uwsgi_param CONTENT_LENGTH $content_length;
    uwsgi_param REQUEST_URI $request_uri;
    uwsgi_param PATH_INFO $document_uri;
    uwsgi_param SERVER_PROTOCOL $server_protocol;
    uwsgi_param SERVER_NAME $server_name;
    uwsgi_param REMOTE_ADDR $remote_addr;
    uwsgi_param REMOTE_PORT $remote_port;
    uwsgi_param SERVER_PORT $server_port;
    server {
        listen 127.0.0.1:@PORT@;
        client_max_body_size 100m;
        location / { uwsgi_pass unix:@FOLDER@/uwsgi.sock; }
        location /scheme/ { uwsgi_pass uwsgi://unix:@FOLDER@/uwsgi.sock; }
        location /stream/ { uwsgi_pass unix:@FOLDER@/uwsgi.sock; uwsgi_request_buffering off; uwsgi_buffering off; }
        location /app/ { uwsgi_pass app; }
        location /var/ { set $where unix:@FOLDER@/uwsgi.sock; uwsgi_pass $where; }
        location /slashes/ { uwsgi_pass unix://@FOLDER@/uwsgi.sock; }
        location /var-slashes/ { set $where unix://@FOLDER@/uwsgi.sock; uwsgi_pass $where; }
        location /prefix/ { set $where uwsgi://app; uwsgi_pass $where; }
        location /pages/ { uwsgi_pass app; uwsgi_intercept_errors on; error_page 404 = /instead; }
        location = /instead { uwsgi_pass app; }
        location /cached/ {
            uwsgi_pass app; uwsgi_cache pages; uwsgi_cache_key $request_uri; uwsgi_cache_valid 200 1m;
            add_header X-Cache $upstream_cache_status;
        }
        location /modifier/ { uwsgi_pass app; uwsgi_modifier1 0; uwsgi_modifier2 0; }
    }
}
"""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comparison]:
    folder = tmp_path_factory.mktemp("uwsgi")
    with run_uwsgi(APP, folder), compare_with_nginx(CONF, folder, sized=True) as found:
        yield found


def content(size: int) -> bytes:
    """Return `size` bytes that do not repeat."""
    return b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(size // 32 + 1))[:size]


@pytest.mark.parametrize(
    "place", ["/", "/scheme/", "/stream/", "/app/", "/var/", "/prefix/", "/modifier/", "/slashes/", "/var-slashes/"]
)
@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 1024 * 1024])
def test_bodies_of_every_size(both: Comparison, place: str, size: int) -> None:
    body = content(size)
    fields = [("Content-Length", str(size)), ("Content-Type", "text/x-test")]
    found = both.compare_bytes(request_bytes(place, "POST", fields, body, close=True))
    assert json.loads(found.body)[1:] == [size, hashlib.sha256(body).hexdigest()]


@pytest.mark.parametrize("place", ["/", "/stream/"])
@pytest.mark.parametrize("size", [0, 1, 65537, 1024 * 1024])
def test_a_chunked_body_has_its_length(both: Comparison, place: str, size: int) -> None:
    body = content(size)
    pieces = [body[at : at + 50_000] for at in range(0, size, 50_000)]
    data = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    found = both.compare_bytes(request_bytes(place, "POST", [("Transfer-Encoding", "chunked")], close=True) + data)
    told, length, digest = json.loads(found.body)
    assert (told["CONTENT_LENGTH"], length, digest) == (str(size), size, hashlib.sha256(body).hexdigest())


REQUESTS: dict[str, tuple[str, str, list[tuple[str, str]]]] = {
    "plain": ("GET", "/a/b?x=1&y=%20", []),
    "fields": ("GET", "/", [("X-One", "1"), ("X-A", "1"), ("X-A", "2"), ("Cookie", "a=1"), ("Cookie", "b=2")]),
    "HEAD": ("HEAD", "/", []),
    "PUT": ("PUT", "/thing", []),
    "404": ("GET", "/?status=404+Not+There", []),
    "204": ("GET", "/?status=204+No+Content&size=0", []),
    "location": ("GET", "/?status=302+Found&h=Location:/there", []),
    "cookies": ("GET", "/?" + "&".join(f"h=Set-Cookie:c{n}%3Dv{n}" for n in range(40)), []),
    "accel redirect": ("GET", "/?h=X-Accel-Redirect:/instead", []),
    "intercepted": ("GET", "/pages/?status=404+Not+There", []),
    "large": ("GET", "/?size=5000000", []),
    "large unbuffered": ("GET", "/stream/?size=5000000", []),
    "slow": ("GET", "/?size=300000&slow=1", []),
    "declared length": ("GET", "/?size=20000&h=Content-Length:20000", []),
    "large with its length": ("GET", "/stream/?size=5000000&h=Content-Length:5000000", []),
    "longer than declared": ("GET", "/?size=20000&h=Content-Length:10", []),
    "shorter than declared": ("GET", "/?size=20000&h=Content-Length:30000", []),
    "killed with its length": ("GET", "/?size=400000&slow=1&die=1&h=Content-Length:400000", []),
    "too many variables": ("GET", "/", [(f"X-Big-{n}", "z" * 7000) for n in range(4)]),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_and_responses(both: Comparison, name: str) -> None:
    method, target, fields = REQUESTS[name]
    if name == "killed with its length":
        theirs, ours = both.send(request_bytes(target, close=True))
        assert (ours.status, ours.complete) == (theirs.status, theirs.complete) == (200, False)
        return
    both.compare_bytes(request_bytes(target, method, fields, close=True), method)


def test_an_entry_of_the_cache(both: Comparison) -> None:
    for wanted in ("MISS", "HIT"):
        theirs, ours = both.send(request_bytes("/cached/x?size=1000", close=True))
        assert ours.get("X-Cache") == theirs.get("X-Cache") == wanted and ours.body == theirs.body == b"x" * 1000
