"""FastCGI to a real php-fpm, beside nginx: the same file, the same script, the same requests.

Rules:
- The script describes the request in its response: variables, and the length and digest of the body.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator

import pytest

from tests.support import parse_response, request_bytes, send_raw, wait_until
from tests.support.comparison import Comparison, compare_with_nginx
from tests.support.php import needs_php, run_php

pytestmark = needs_php

SCRIPT = r"""<?php
parse_str($_SERVER['QUERY_STRING'] ?? '', $q);
$body = file_get_contents('php://input');
foreach ($q['h'] ?? [] as $line) header($line, false);
if (isset($q['status'])) http_response_code((int)$q['status']);
if (isset($q['err'])) error_log($q['err']);
if (isset($q['size'])) {
    ini_set('output_buffering', 'off');
    for ($left = (int)$q['size']; $left > 0; $left -= 8192) {
        echo str_repeat('x', min($left, 8192));
        if (isset($q['slow'])) { flush(); usleep(1000); }
        if (isset($q['die']) && $left < (int)$q['size'] / 2) { flush(); exec('kill -9 ' . getmypid()); }
    }
    return;
}
if (isset($q['echo'])) { echo $body; return; }
$kept = [];
foreach ($_SERVER as $name => $value)
    if (is_string($value) && !preg_match('/^(REQUEST_TIME|REMOTE_PORT|HTTP_HOST|USER|HOME|argv|argc)/', $name))
        $kept[$name] = bin2hex($value);
ksort($kept);
header('Content-Type: application/json');
echo json_encode(['vars' => $kept, 'length' => strlen($body), 'digest' => hash('sha256', $body)]);
"""

CONF = """
events {}
http {
    access_log off;
    include PARAMS;
    fastcgi_param SCRIPT_FILENAME $document_root/index.php;
    fastcgi_param EMPTY "" if_not_empty;
    fastcgi_param BLANK "";
    fastcgi_param HTTP_X_SET "by the file";
    upstream php { server unix:@FOLDER@/php.sock; keepalive 4; }
    upstream two { server unix:@FOLDER@/none.sock; server unix:@FOLDER@/php.sock backup; }
    fastcgi_cache_path cache keys_zone=pages:1m;
    server {
        listen 127.0.0.1:@PORT@;
        root @FOLDER@;
        client_max_body_size 100m;
        location / { fastcgi_pass unix:@FOLDER@/php.sock; }
        location /keep/ { fastcgi_pass php; fastcgi_keep_conn on; }
        location /stream/ { fastcgi_pass php; fastcgi_request_buffering off; fastcgi_buffering off; }
        location /two/ { fastcgi_pass two; }
        location /var/ { set $where unix:@FOLDER@/php.sock; fastcgi_pass $where; }
        location /named/ { set $where php; fastcgi_pass $where; }
        location /cached/ {
            fastcgi_pass php; fastcgi_cache pages; fastcgi_cache_key $request_uri; fastcgi_cache_valid 200 1m;
            add_header X-Cache $upstream_cache_status;
        }
        location /pages/ { fastcgi_pass php; fastcgi_intercept_errors on; error_page 404 503 /sorry.html; }
        location /hide/ { fastcgi_pass php; fastcgi_hide_header X-App; fastcgi_pass_header X-Accel-Expires; }
        location /ignore/ { fastcgi_pass php; fastcgi_ignore_headers X-Accel-Redirect; }
        location /bare/ { fastcgi_pass php; fastcgi_pass_request_headers off; fastcgi_pass_request_body off; }
        location /own/ { fastcgi_param SCRIPT_FILENAME $document_root/index.php; fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param CONTENT_LENGTH $content_length; fastcgi_pass php; }
        location /caught/ { fastcgi_pass php; fastcgi_catch_stderr "PHP message: caught"; }
        location ~ ^/app/.+\\.php {
            fastcgi_split_path_info ^(.+\\.php)(/.*)$;
            fastcgi_param PATH_INFO $fastcgi_path_info;
            fastcgi_param SCRIPT_SEEN $fastcgi_script_name;
            fastcgi_param SCRIPT_FILENAME $document_root/index.php;
            fastcgi_pass php;
        }
        location /index/ {
            fastcgi_index index.php;
            fastcgi_param SCRIPT_SEEN $fastcgi_script_name;
            fastcgi_param SCRIPT_FILENAME $document_root/index.php;
            fastcgi_pass php;
        }
        location /gone/ { fastcgi_pass unix:@FOLDER@/none.sock; }
        location = /sorry.html { }
        location /file/ { internal; }
    }
    server {
        # A site with one script for everything, as WordPress and Nextcloud have it.
        listen 127.0.0.1:@PORT@;
        server_name site.test;
        root @FOLDER@/site;
        index index.php index.html;
        gzip on;
        gzip_types text/plain;
        location / { try_files $uri $uri/ /index.php$request_uri; }
        location ~ \\.php(?:$|/) {
            rewrite ^/(?!index|status)(.*)$ /index.php$request_uri;
            fastcgi_split_path_info ^(.+?\\.php)(/.*)$;
            set $path_info $fastcgi_path_info;
            try_files $fastcgi_script_name =404;
            include PARAMS;
            fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
            fastcgi_param SCRIPT_NAME $fastcgi_script_name;
            fastcgi_param PATH_INFO $path_info;
            fastcgi_pass php;
            fastcgi_intercept_errors on;
            error_page 404 @gone;
        }
        location @gone {
            include PARAMS;
            fastcgi_param SCRIPT_FILENAME $document_root/status.php;
            fastcgi_param GONE $uri;
            fastcgi_pass php;
        }
    }
}
"""
PARAMS = """
fastcgi_param QUERY_STRING $query_string;
fastcgi_param REQUEST_METHOD $request_method;
fastcgi_param CONTENT_TYPE $content_type;
fastcgi_param CONTENT_LENGTH $content_length;
fastcgi_param REQUEST_URI $request_uri;
fastcgi_param DOCUMENT_ROOT $document_root;
fastcgi_param HTTPS $https if_not_empty;
"""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comparison]:
    folder = tmp_path_factory.mktemp("php")
    (folder / "index.php").write_text(SCRIPT)
    (folder / "sorry.html").write_text("sorry")
    for name in ("index.php", "status.php", "sub/index.php"):
        (folder / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "site" / name).write_text(SCRIPT)
    (folder / "site" / "style.css").write_text("a file")
    (folder / "site" / "empty").mkdir()
    (folder / "file").mkdir()
    (folder / "file" / "a.txt").write_text("a file")
    with run_php(folder), compare_with_nginx(CONF.replace("include PARAMS;", PARAMS), folder, sized=True) as found:
        yield found


def content(size: int) -> bytes:
    """Return `size` bytes that do not repeat."""
    return b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(size // 32 + 1))[:size]


SIZES = (0, 1, 32767, 32768, 32769, 65535, 65536, 65537, 1024 * 1024)
PLACES = ("/", "/keep/", "/stream/", "/var/", "/named/", "/two/", "/own/", "/bare/")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("size", SIZES)
def test_bodies_of_every_size(both: Comparison, place: str, size: int) -> None:
    body = content(size)
    fields = [("Content-Length", str(size)), ("Content-Type", "text/x-test")]
    found = both.compare_bytes(request_bytes(place, "POST", fields, body, close=True))
    if place != "/bare/":
        told = json.loads(found.body)
        assert (told["length"], told["digest"]) == (size, hashlib.sha256(body).hexdigest())


@pytest.mark.parametrize("place", ["/", "/keep/", "/var/"])
@pytest.mark.parametrize("size", [0, 1, 65537, 1024 * 1024])
def test_a_chunked_body_has_its_length(both: Comparison, place: str, size: int) -> None:
    body = content(size)
    pieces = [body[at : at + 50_000] for at in range(0, size, 50_000)]
    data = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    head = request_bytes(place, "POST", [("Transfer-Encoding", "chunked")], close=True)
    found = both.compare_bytes(head + data)
    told = json.loads(found.body)
    assert bytes.fromhex(told["vars"]["CONTENT_LENGTH"]).decode() == str(size)
    assert told["digest"] == hashlib.sha256(body).hexdigest()


REQUESTS: dict[str, tuple[str, str, list[tuple[str, str]]]] = {
    "plain": ("GET", "/a/b.php?x=1&y=%20", []),
    "fields": ("GET", "/", [("X-One", "1"), ("X-Two-Words", "a b"), ("Accept", "*/*"), ("User-Agent", "t")]),
    "a field that the file sets": ("GET", "/", [("X-Set", "by the client")]),
    "an underscore": ("GET", "/", [("X_Set", "by the client"), ("X-Ok", "1")]),
    "long value": ("GET", "/", [("X-Long", "y" * 3000)]),
    "own parameters replace all": ("GET", "/own/", [("X-A", "1")]),
    "no fields": ("GET", "/bare/", [("X-A", "1")]),
    "HEAD": ("HEAD", "/?h[]=X-App:+1", []),
    "HEAD of much": ("HEAD", "/?size=300000", []),
    "HEAD kept": ("HEAD", "/keep/?size=300000", []),
    "DELETE": ("DELETE", "/thing", []),
    "status": ("GET", "/?status=404", []),
    "unknown status": ("GET", "/?h[]=Status:+299+Odd", []),
    "status 204": ("GET", "/?status=204", []),
    "status 304": ("GET", "/?status=304", []),
    "location": ("GET", "/?h[]=Location:+https://elsewhere.test/x", []),
    "relative location": ("GET", "/?h[]=Location:+/there", []),
    "location 201": ("GET", "/?status=201&h[]=Location:+/there", []),
    "cookies": ("GET", "/?" + "&".join(f"h[]=Set-Cookie:+c{n}=v{n}" for n in range(40)), []),
    "own date and server": ("GET", "/?h[]=X-Pad:+1&h[]=X-App:+2", []),
    "hidden": ("GET", "/hide/?h[]=X-App:+1&h[]=X-Other:+2&h[]=X-Accel-Expires:+10", []),
    "accel redirect": ("GET", "/?h[]=X-Accel-Redirect:+/file/a.txt&h[]=Set-Cookie:+a=b", []),
    "accel redirect ignored": ("GET", "/ignore/?h[]=X-Accel-Redirect:+/file/a.txt", []),
    "intercepted": ("GET", "/pages/?status=404", []),
    "intercepted 503": ("GET", "/pages/?status=503", []),
    "not intercepted": ("GET", "/pages/?status=500", []),
    "split": ("GET", "/app/x.php/path/info?q=1", []),
    "split without information": ("GET", "/app/x.php", []),
    "index": ("GET", "/index/a/", []),
    "index of a file": ("GET", "/index/a/b", []),
    "large": ("GET", "/?size=5000000", []),
    "large kept": ("GET", "/keep/?size=5000000", []),
    "large unbuffered": ("GET", "/stream/?size=5000000", []),
    "slow": ("GET", "/?size=200000&slow=1", []),
    "slow unbuffered": ("GET", "/stream/?size=200000&slow=1", []),
    "declared length": ("GET", "/?h[]=Content-Length:+20000&size=20000", []),
    "longer than declared": ("GET", "/?h[]=Content-Length:+10&size=20000", []),
    "shorter than declared": ("GET", "/?h[]=Content-Length:+30000&size=20000", []),
    "no server": ("GET", "/gone/", []),
    "second server": ("GET", "/two/", []),
    "caught": ("GET", "/caught/?err=caught+it", []),
    "not caught": ("GET", "/caught/?err=other", []),
    "too many variables": ("GET", "/", [(f"X-Big-{n}", "z" * 7000) for n in range(4)]),
    "range": ("GET", "/?size=100", [("Range", "bytes=0-9")]),
    "conditions": ("GET", "/", [("If-None-Match", '"x"'), ("If-Modified-Since", "Sat, 01 Jan 2000 00:00:00 GMT")]),
    "hop by hop": ("GET", "/", [("Keep-Alive", "300"), ("TE", "trailers")]),
    "authorization": ("GET", "/", [("Authorization", "Basic dTpw")]),
    "expect": ("POST", "/", [("Content-Length", "0")]),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_and_responses(both: Comparison, name: str) -> None:
    method, target, fields = REQUESTS[name]
    both.compare_bytes(request_bytes(target, method, fields, close=True), method)


def test_a_killed_worker_in_mid_response_breaks_the_response(both: Comparison) -> None:
    for target in ("/?size=400000&slow=1&die=1", "/keep/?size=400000&slow=1&die=1", "/stream/?size=400000&slow=1&die=1"):
        theirs, ours = both.send(request_bytes(target, close=True))
        assert (ours.status, ours.complete) == (theirs.status, theirs.complete) == (200, False)


def test_a_killed_worker_before_the_head_is_a_502(both: Comparison) -> None:
    both.compare_bytes(request_bytes("/?size=0&die=1", close=True))
    theirs, ours = both.send(request_bytes("/?size=10&die=1", close=True))
    assert theirs.status == ours.status


def test_lines_of_stderr_are_in_the_error_log(both: Comparison) -> None:
    theirs, ours = both.send(request_bytes("/?err=the+line%0Aand+another.", close=True))
    assert theirs.status == ours.status == 200
    wanted = 'FastCGI sent in stderr: "PHP message: the line'
    for server in both.servers:
        wait_until(lambda server=server: wanted in server.log(), "the line of the script")
    line = next(line for line in both.servers[1].log().splitlines() if wanted in line)
    assert '" while reading response header from upstream, client: 127.0.0.1' in line
    assert 'upstream: "fastcgi://unix:' in line


def test_an_entry_of_the_cache(both: Comparison) -> None:
    for wanted in ("MISS", "HIT", "HIT"):
        theirs, ours = both.send(request_bytes("/cached/x?size=1000", close=True))
        assert ours.get("X-Cache") == theirs.get("X-Cache") == wanted
        assert ours.body == theirs.body == b"x" * 1000
    for port in (both.theirs, both.ours):
        kept = parse_response(send_raw(port, request_bytes("/cached/n?h[]=Cache-Control:+no-store&size=9", close=True)))
        assert kept is not None and kept.get("X-Cache") == "MISS"


def test_a_connection_that_is_kept_serves_many_requests(both: Comparison) -> None:
    for number in range(30):
        both.compare_bytes(request_bytes(f"/keep/?n={number}", "POST", body=b"x" * number, close=True))


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/?a=b",
        "/style.css",
        "/a/permanent/link?x=1",
        "/index.php",
        "/index.php/path/info?x=1",
        "/index.php/a%20b/c%2fd",
        "/sub/",
        "/sub",
        "/sub/index.php/x",
        "/empty/",
        "/none.php",
        "/none.php/x?y",
        "/status.php?status=404",
        "/status.php?status=500",
        "/status.php?size=20000&h[]=Content-Type:+text/plain",
        "/a?h[]=Location:+/b&status=301",
        "//index.php",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_site_with_one_script(both: Comparison, target: str, method: str) -> None:
    fields = [("Accept-Encoding", "gzip"), ("Host", "site.test")]
    data = request_bytes(target, method, fields, b"a=b" if method == "POST" else b"", close=True)
    theirs, ours = both.send(data, method)
    for found in (theirs, ours):
        if found.get("Content-Encoding") == "gzip" and method != "HEAD":
            found.body = gzip.decompress(found.body)
            found.headers = [pair for pair in found.headers if pair[0].lower() != "content-length"]
    assert both.shown(ours) == both.shown(theirs)
