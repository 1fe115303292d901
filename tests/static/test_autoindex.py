"""autoindex: the listing, compared with nginx's byte for byte."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support import free_port, run_nginx
from tests.support.routing import Ours, Theirs

FIELDS = [("Host", "localhost")]


NAMES = [
    "b.txt", "a.txt", "é.txt", "<b>&\"'.txt", "with space", "100%#?.html", "x" * 60, "y" * 50, "z" * 51, ".hidden", "A",
    "é" * 48, "é" * 50, "é" * 51, "back\\slash", "tab\tline\nbell\a",
]  # fmt: skip
SIZES = [
    0,
    1023,
    9999,
    10000,
    10751,
    10752,
    1024**2 - 1,
    1024**2,
    3 * 1024**2 // 2 - 1,
    3 * 1024**2 // 2,
    1024**3,
    5 * 1024**3 // 2,
]


def test_the_listing_is_nginxs(tmp_path: Path) -> None:
    root = tmp_path / "w"
    (root / "folder").mkdir(parents=True)
    (root / "empty").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        with (root / name).open("wb") as file:
            file.truncate(SIZES[number % len(SIZES)])
    (root / "to-nothing").symlink_to("/nonexistent")
    (root / "folder" / "one").write_bytes(b"x")
    os.mkfifo(root / "fifo")
    for path in root.iterdir():
        os.utime(path, (1600000000, 1600000000), follow_symlinks=False)
    os.utime(root / "folder", (1500000000, 1500000000))
    port = free_port()
    conf = f"""events {{}} http {{ access_log off; server {{ listen {port}; root {root}; autoindex on;
        location /exact/ {{ autoindex_exact_size off; autoindex_localtime on; alias {root}/; }}
        location /utf8/ {{ charset UTF-8; autoindex_exact_size off; alias {root}/; }}
        location /xml/ {{ autoindex_format xml; alias {root}/; }}
        location /json/ {{ autoindex_format JSON; alias {root}/; }}
        location /jsonp/ {{ autoindex_format jsonp; alias {root}/; }} }} }}"""
    targets = ["/", "/folder/", "/exact/", "/utf8/", "/xml/", "/xml/empty/", "/xml/folder/", "/json/", "/json/empty/"]
    targets += ["/json/folder/", "/json/?callback=x", "/jsonp/"]
    targets += [f"/jsonp/folder/?{args}" for args in ("callback=a.b_9", "callback=", "callback=a(", "callback=%61", "CallBack=Z")]
    targets += ["/jsonp/?callback=" + "a" * 128, "/jsonp/?callback=" + "a" * 129]
    with run_nginx(conf, tmp_path), Theirs(port) as theirs:
        ours = Ours(conf, port)
        for target in targets:
            own, wanted = ours.ask("GET", target, FIELDS), theirs.ask("GET", target, FIELDS)
            # The finisher, which is not part of this test, adds the charset to HTML.
            assert (own[0], own[2] or "text/html") == (wanted[0], str(wanted[2]).replace("html; charset=UTF-8", "html")), target
            if wanted[0] == 200:
                assert own[3] == wanted[3], target


def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    conf = f"events {{}} http {{ server {{ listen 80; root {tmp_path}; autoindex on; }} }}"
    ours = Ours(conf, 80)
    assert ours.ask("HEAD", "/", FIELDS)[::3] == (200, b"")
    assert ours.ask("GET", "/none/", FIELDS)[0] == 404
