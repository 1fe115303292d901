"""`disable_symlinks` beside nginx: which links are followed by files, indexes, listings, `try_files`, `if` and `gzip_static`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import full_nginx
from tests.support.comparison import Comparison, compare_with_nginx

LOCATIONS = {
    "off": "disable_symlinks off;",
    "on": "disable_symlinks on;",
    "owner": "disable_symlinks if_not_owner;",
    "on from root": "disable_symlinks on from=$document_root;",
    "on from root/": "disable_symlinks on from=$document_root/;",
    "owner from": "disable_symlinks if_not_owner from=F/www/dirlink;",
    "on from elsewhere": "disable_symlinks on from=/nowhere;",
    "on from a variable": "set $x F/www/dirlink/; disable_symlinks on from=$x;",
    "on, linked root": "root F/rootlink; disable_symlinks on;",
    "on, linked root, from": "root F/rootlink; disable_symlinks on from=$document_root;",
    "owner, linked root": "root F/rootlink; disable_symlinks if_not_owner;",
    "winding root": "root F/./www/dir/..//; disable_symlinks on;",
    "try": "disable_symlinks on; try_files $uri $uri.html $uri/ =410;",
    "try owner": "disable_symlinks if_not_owner; try_files $uri $uri.html $uri/ =410;",
    "if": "disable_symlinks on; location / { if (-f $request_filename) { return 202; } }",
    "if not": "disable_symlinks on; location / { if (!-f $request_filename) { return 203; } }",
    "if owner": "disable_symlinks if_not_owner; location / { if (-e $request_filename) { return 202; } }",
    "listing": "disable_symlinks on; autoindex on;",
    "listing owner": "disable_symlinks if_not_owner; autoindex on;",
    "gzip": "disable_symlinks on; gzip_static on;",
    "gzip owner": "disable_symlinks if_not_owner; gzip_static always;",
    "inherited": "disable_symlinks on from=F/www; location / { } location /dirlink/ { disable_symlinks if_not_owner; }",
    "slash": r"disable_symlinks on; location ~ (.+/)$ { alias F/www$1; index none; }",
    "tail": r"disable_symlinks on; location ~ (.+/)tail$ { alias F/www$1; }",
    "tail owner": r"disable_symlinks if_not_owner; location ~ (.+/)tail$ { alias F/www$1; }",
}
TARGETS = """
/a /a.html /link /foreign /dangling /loop /dir/ /dir /dir/a /dirlink/ /dirlink /dirlink/a /dirlink/link /foreigndir/ /foreigndir/a
/indexed/ /indexedowner/ /bare/ /barelink/ /none /none/a /a.html/ /a.html/tail /link/tail /dir/tail /z /y
""".split()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comparison]:
    folder = tmp_path_factory.mktemp("symlinks")
    www = folder / "www"
    for name in "a a.html dir/a dir/index.html indexed/x indexedowner/x bare/x y z.gz".split():
        (www / name).parent.mkdir(parents=True, exist_ok=True)
        (www / name).write_text(name)
        os.utime(www / name, (1e9, 1e9))
    foreign, directory = Path("/etc/passwd"), Path("/etc")
    if os.getuid() == 0:
        directory = folder / "others"
        directory.mkdir()
        foreign = directory / "a"
        foreign.write_text("foreign")
        os.chown(foreign, 4711, 4711)
        os.chown(directory, 4711, 4711)
    links = {
        "link": "a", "foreign": foreign, "dangling": "nothing", "loop": "loop", "dirlink": "dir", "dir/link": "a",
        "foreigndir": directory, "indexed/index.html": "../a", "indexedowner/index.html": foreign, "barelink": "bare",
        "y.gz": "a", "link.html": "a.html", "foreign.html": "a.html",
    }  # fmt: skip
    for name, target in links.items():
        (www / name).symlink_to(target)
    (folder / "rootlink").symlink_to("www")
    servers = [
        f"server {{ listen 127.0.0.1:@PORT@; server_name s{number}.t; {'' if ' root ' in f' {text}' else 'root F/www;'} {text} }}"
        for number, text in enumerate(LOCATIONS.values())
    ]
    conf = "worker_processes 1; error_log stderr crit; events {} http { access_log off; default_type text/plain; SERVERS }"
    with compare_with_nginx(
        conf.replace("SERVERS", "\n".join(servers)).replace("F/", f"{folder}/"),
        folder,
        sized=True,
        program=full_nginx("http_gzip_static_module"),
    ) as both:
        yield both


@pytest.mark.parametrize("name", LOCATIONS)
def test_the_same_links_are_followed(both: Comparison, name: str) -> None:
    host = f"s{list(LOCATIONS).index(name)}.t"
    differences = []
    for target in TARGETS:
        theirs, ours = (both.shown(each) for each in both.ask(target, "GET", [("Host", host)]))
        if ours != theirs:
            differences.append(f"{target}: ours {ours} theirs {theirs}")
    assert not differences, f"{len(differences)}:\n" + "\n".join(differences[:6])
