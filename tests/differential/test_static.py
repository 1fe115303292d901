"""The same files served by real nginx and by this proxy: directories, indexes, try_files, ranges and conditions."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.support import free_port, run_nginx
from tests.support.routing import Ours, Pairs, Theirs, same

MODIFIED = 1600000000
TAG = f'"{MODIFIED:x}-64"'
SERVERS = [
    "root W;",
    "root W; index index.htm index.html; default_type application/x-foo;"
    " types { text/html html; image/png png; text/plain TXT txt; image/jpeg jpg; }",
    "root W; index nope.html /a.html;",
    "root W; etag off; if_modified_since before;",
    "root W; if_modified_since off;",
    "root W; max_ranges 0;",
    "root W; max_ranges 2;",
    "location / { alias W/; } location /i/ { alias W/d/; } location /j { alias W/d; }"
    " location ~ ^/r/(.*)$ { alias W/$1; } location = /one { alias W/a.html; }",
    "root W; location / { try_files $uri $uri/ /a.html?q=$args; }",
    "root W; location / { try_files $uri.html $uri =404; } location /d { try_files $uri/index.html @n; }"
    ' location @n { return 200 "named $uri $args"; }',
    "root W; try_files /d$uri /nope/ /noidx/ =418;",
    "location /i/ { alias W/d/; try_files $uri /i/b.txt =404; } location / { root W; try_files /d/ =404; }",
    "root W; index a$arg_i index.html;",
    'root W; default_type ""; types { }',
    "root W; absolute_redirect off;",
    "root W; port_in_redirect off; server_name_in_redirect on;",
    'root W; location ~ html$ { return 200 "html $uri $args"; }',
    "root W; autoindex on;",
    "root W/d; location /e { } location /d { root W; internal; } location / { try_files $uri /d/index.html; }",
]
TARGETS = (
    """
/ /a.html /d /d/ /d/e /d/e/ /d/b.txt /d/b.txt/ /empty /empty/ /noidx/ /noidx/x.png /nope /nope/ /d.x /d.x/y /J.JPG /.hidden
/sp%20ace /link /dang /i/ /i/b.txt /i /i/e /i/e/ /j /j/ /j/b.txt /jb /r/a.html /r/d /r/d/ /one /a /up /up/ /d?x=1 /d/?x=1
/a.html/x /e /e/ /%ff /d%2Fb.txt
""".split()
    + ["/" + "x" * 300]
)
RANGES = [
    "bytes=0-0", "bytes=0-9", "bytes=-5", "bytes=5-", "bytes=0-1,3-4", "bytes=0-1,3-4,6-7", "bytes=50-60,-1", "bytes=0-",
    "bytes=500-", "bytes=1000000-", "bytes=-0", "bytes=-99999", "bytes=5-3", "bytes=", "bytes=a", "bytes=1-2,",
    "bytes= 1 - 2 , 4-5", "Bytes=0-1", "lines=1-2", "bytes=0-99999999999999999999", "bytes=0-60,0-60", "bytes=1-2x",
    "bytes=1-2 3", "bytes=,1-2", "bytes=0-18446744073709551615",
]  # fmt: skip
DATES = [formatdate(MODIFIED + seconds, usegmt=True) for seconds in (0, -1, 1)]
TAGS = [TAG, "W/" + TAG, "*", '"x"', f'"x", {TAG}', f'{TAG},"y"', f'"x",W/{TAG}', TAG.strip('"'), "", f'"a,b", {TAG}']
CONDITIONS = [("Range", value) for value in RANGES]
CONDITIONS += [(name, date) for name in ("If-Modified-Since", "If-Unmodified-Since") for date in [*DATES, "junk"]]
CONDITIONS += [("If-Modified-Since", date) for date in ("Sunday, 13-Sep-20 12:26:40 GMT", "Sun Sep 13 12:26:40 2020")]
CONDITIONS += [(name, tag) for name in ("If-None-Match", "If-Match") for tag in TAGS]
IF_RANGES = [("If-Range", value) for value in (TAG, "W/" + TAG, '"x"', *DATES, "junk")]
COMPARED = ["last-modified", "etag", "content-range", "accept-ranges", "content-length"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "w"
    for name in ("d/e", "empty", "noidx", "d.x", "up"):
        (root / name).mkdir(parents=True)
    texts = {"a.html": "A" * 100, "d/index.html": "idx", "d/e/index.htm": "htm", "d/b.txt": "b" * 1000, "noidx/x.png": "png"}
    texts |= {"d.x/y": "", "J.JPG": "jj", ".hidden": "h", "sp ace": "s", "up/index.html": "U" * 37}
    for name, text in texts.items():
        (root / name).write_text(text)
    (root / "link").symlink_to(root / "a.html")
    (root / "dang").symlink_to("/nonexistent")
    for path in root.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (MODIFIED, MODIFIED))
    return root


class Both:
    """The two servers, and the differences found."""

    def __init__(self, ours: Ours, theirs: Theirs) -> None:
        self.ours = ours
        self.theirs = theirs
        self.number = 0
        self.differences: list[str] = []

    def check(self, server: int, method: str, target: str, *fields: tuple[str, str]) -> None:
        pairs: Pairs = [("Host", f"s{server}.t"), *fields]
        self.number += 1
        mine = self.ours.ask(method, target, pairs)
        headers = self.ours.last.headers
        wanted = self.theirs.ask(method, target, pairs)
        if "multipart" in (wanted[2] or ""):
            boundary, other = (str(side[2]).partition("boundary=")[2] for side in (mine, wanted))
            assert len(boundary) == len(other)
            mine = mine[0], mine[1], "multipart", mine[3].replace(boundary.encode(), b"B")
            wanted = wanted[0], wanted[1], "multipart", wanted[3].replace(other.encode(), b"B")
        what = [] if same(mine, wanted) else [f"{mine} {wanted}"]
        if self.ours.last.outcome is None and wanted[0] in (200, 206, 304, 416):
            for name in COMPARED:
                # This proxy's pages and listings have other lengths.
                if name != "content-length" or not (wanted[0] == 416 or b"<title>" in wanted[3] or server == 17):
                    value = next((value for key, value in headers if key.lower() == name), None)
                    if value != self.theirs.last.get(name):
                        what.append(f"{name}: {value} {self.theirs.last.get(name)}")
        if what:
            self.differences.append(f"s{server} {method} {target} {fields}: {what}")


@pytest.fixture
def both(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Both]:
    caplog.set_level(100, "wsgi_proxy")
    port = free_port()
    blocks = [f"server {{ listen {port}; server_name s{n}.t; {text} }}" for n, text in enumerate(SERVERS)]
    conf = "events {}\nhttp { access_log off;\n" + "\n".join(blocks).replace("W", str(folder)) + "}"
    with run_nginx(conf, tmp_path):
        theirs = Theirs(port)
        found = Both(Ours(conf, port), theirs)
        yield found
        theirs.close()
    assert not found.differences, f"{len(found.differences)} of {found.number}:\n" + "\n".join(found.differences[:10])


def test_every_target_everywhere(both: Both) -> None:
    for server in range(len(SERVERS)):
        for target in TARGETS:
            both.check(server, "GET", target)
        for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
            for target in ("/a.html", "/d", "/d/", "/nope", "/empty/"):
                both.check(server, method, target)
    assert both.number > 1300


def test_ranges_and_conditions(both: Both) -> None:
    dice = random.Random(1)
    for server in (0, 3, 4, 5, 6):
        for field in CONDITIONS:
            both.check(server, "GET", "/a.html", field)
        for field in IF_RANGES:
            both.check(server, "GET", "/a.html", field, ("Range", "bytes=0-9"))
        for _ in range(60):
            several = dict(dice.choice(CONDITIONS + IF_RANGES) for _ in range(dice.randint(2, 3)))
            both.check(server, dice.choice(["GET", "GET", "HEAD"]), "/a.html", *several.items())
    assert both.number > 500
