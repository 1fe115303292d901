"""autoindex: the listing, compared with nginx's byte for byte."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support import free_port, run_nginx
from tests.support.routing import Ours, Theirs

FIELDS = [("Host", "localhost")]


def test_the_listing_is_nginxs(tmp_path: Path) -> None:
    root = tmp_path / "w"
    (root / "folder").mkdir(parents=True)
    names = ["b.txt", "a.txt", "é.txt", "<b>&\"'.txt", "with space", "100%#?.html", "x" * 60, "y" * 50, "z" * 51, ".hidden", "A"]
    for number, name in enumerate(names):
        (root / name).write_bytes(b"x" * number * 1000)
    (root / "to-nothing").symlink_to("/nonexistent")
    for path in root.iterdir():
        os.utime(path, (1600000000, 1600000000), follow_symlinks=False)
    os.utime(root / "folder", (1500000000, 1500000000))
    port = free_port()
    conf = f"events {{}} http {{ access_log off; server {{ listen {port}; root {root}; autoindex on; }} }}"
    with run_nginx(conf, tmp_path), Theirs(port) as theirs:
        ours = Ours(conf, port)
        for target in ("/", "/folder/"):
            assert ours.ask("GET", target, FIELDS)[3].decode() == theirs.ask("GET", target, FIELDS)[3].decode()


def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    conf = f"events {{}} http {{ server {{ listen 80; root {tmp_path}; autoindex on; }} }}"
    ours = Ours(conf, 80)
    assert ours.ask("HEAD", "/", FIELDS)[::3] == (200, b"")
    assert ours.ask("GET", "/none/", FIELDS)[0] == 404
