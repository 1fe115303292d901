"""`random_index`: each file of a directory is drawn, hidden ones and directories never, beside the system's nginx."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import fetch, free_port, run_nginx
from tests.support.processes import full_nginx
from tests.support.routing import Ours

FIELDS = [("Host", "localhost")]
CONF = """error_log stderr crit; events {} http { access_log off; server { listen 127.0.0.1:PORT; root ROOT; index index.html;
    location / { random_index on; } location /off/ { } } }"""
SAME = ["/empty/", "/none/", "/off/", "/some"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found = tmp_path / "w"
    for name in ("some/a.txt", "some/b.html", "some/a b", "some/.hidden", "some/inner/c.txt", "off/index.html"):
        (found / name).parent.mkdir(parents=True, exist_ok=True)
        (found / name).write_text(name)
    (found / "empty").mkdir()
    return found


def _conf(root: Path, port: int) -> str:
    return CONF.replace("ROOT", str(root)).replace("PORT", str(port))


def test_files_are_drawn(root: Path) -> None:
    ours = Ours(_conf(root, 80), 80)
    drawn = {bytes(ours.ask("GET", "/some/", FIELDS)[3]).decode() for _ in range(200)}
    assert drawn == {"some/a.txt", "some/b.html", "some/a b"}


def test_the_rest_is_as_in_nginx(root: Path, tmp_path: Path) -> None:
    port = free_port()
    with run_nginx(_conf(root, port), tmp_path, program=full_nginx("http_random_index_module")):
        ours = Ours(_conf(root, port), port)
        for target in SAME:
            assert ours.ask("GET", target, FIELDS)[0] == fetch(port, target).status, target
