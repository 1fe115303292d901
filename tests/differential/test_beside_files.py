"""The comparison on real files: two small cases, one that is equal and one whose servers are made to differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import free_port

from . import beside_files
from .beside_cases import OURS, Case, directives
from .beside_cases import materialize as materialize_both
from .beside_requests import requests_of

CONF = """
user www-data;
worker_processes auto;
pid @RUN@/nginx.pid;
events {}
http {
    include mime.types;
    upstream app { server web:UP; }
    server {
        listen 80;
        listen [::]:80;
        server_name example.com;
        add_header X-Which same;
        location / { proxy_pass http://app; proxy_set_header Host $host; proxy_set_header X-Sum "{$scheme;$uri}"; }
        location /static/ { root /srv/www; }
        location ~ ^/(old|new)/\\d+$ { return 204; }
    }
}
"""


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Return a directory with the case `small` and the stock file that it includes."""
    folder = tmp_path / "cases"
    (folder / "small").mkdir(parents=True)
    (folder / "_stock").mkdir()
    (folder / "_stock/mime.types").write_text("types { text/html html; text/css css; }\n")
    (folder / "small/nginx.conf").write_text(CONF.replace("UP", str(free_port())))
    return folder


def test_no_difference_in_equal_servers(cases: Path) -> None:
    report = beside_files.run(cases, [], 12)
    assert not report.kinds and not report.refused and not report.skipped
    assert (report.cases, report.requests, report.different) == (1, 24, 0)
    assert list(report.lines(1)) == ["1 cases, 0 skipped, 0 refused", "24 requests, 0 undocumented differences"]


def test_a_different_server_is_reported(cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def materialize(source: Path, root: Path, resolver: int) -> Case:
        case = materialize_both(source, root, resolver)
        conf = case.tree(OURS) / "conf/nginx.conf"
        text = conf.read_text().replace("X-Which same", "X-Which other").replace("return 204", "return 205")
        conf.write_text(text.replace("X-Sum", "X-Total"))
        return case

    monkeypatch.setattr(beside_files, "materialize", materialize)
    report = beside_files.run(cases, ["small"], 12)
    assert {
        "response field x-which differs",
        "status 204 No Content → 205 ",
        "upstream field x-sum missing",
        "upstream field x-total added",
    } == set(report.kinds)
    lines = list(report.lines(1))
    assert any(line.startswith("== response field x-which differs: ") for line in lines)
    assert lines[-1] == f"24 requests, {report.undocumented} undocumented differences"
    assert 0 < report.undocumented <= report.different


def test_a_case_that_nginx_refuses_is_skipped_with_the_reason(cases: Path) -> None:
    (cases / "small/nginx.conf").write_text("events {} http { server { listen 80; nonsense on; } }")
    report = beside_files.run(cases, [], 12)
    assert 'unknown directive "nonsense"' in report.skipped["small"]
    assert report.requests == report.cases == 0


def test_words_are_found_in_their_quotes_and_blocks() -> None:
    found = list(directives("a \"b; c\" d${e}f; # g;\nh ~ \\.x$ { i j{2}; } k '{}';"))
    assert [one.words for one in found[:2]] == [["a", "b; c", "d${e}f"], ["h", "~", "\\.x$"]]
    assert found[1].opens and found[2].around == [["h", "~", "\\.x$"]]
    assert found[-1].words == ["k", "{}"]


def test_the_requests_of_a_site_are_the_same_each_time() -> None:
    locations = [["/a/"], ["~*", "\\.(js|css)$"], ["=", "/b"], ["@named"]]
    made = [str(request) for request in requests_of(["~^(www|m)\\.x\\.test$", "_"], locations, 100)]
    assert made == [str(request) for request in requests_of(["~^(www|m)\\.x\\.test$", "_"], locations, 100)]
    assert len(made) == 100 and len(set(made)) > 90
    assert made[1].startswith("GET /a/ HTTP/1.1 | Host: www.x.test")
    assert any("GET /a.js HTTP/1.1" in line for line in made)
    assert not any("@named" in line for line in made)
