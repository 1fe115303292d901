"""The status page in its forms, and nginx's stub_status; the dashboard in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import Recorder, fetch, free_port, reply, run_proxy, wait_until
from tests.support.browser import Page, browser

CONFIGURATION = """
worker_processes 2;
events {{}}
http {{
    proxy_cache_path store keys_zone=shop:1m;
    limit_req_zone $arg_key zone=slow:1m rate=1r/m;
    upstream echo {{ server {address}; server 127.0.0.1:{dead} max_fails=1;
        server 127.0.0.1:{dead} backup; server 127.0.0.1:{dead} down; }}
    server {{
        listen 127.0.0.1:{port};
        server_name main.test;
        location / {{ proxy_pass http://echo; }}
        location /cached {{ proxy_pass http://echo; proxy_cache shop; proxy_cache_valid 200 1h; limit_req zone=slow; }}
        location "/<img src=x onerror=document.title=1>" {{ return 204; }}
        location = /stub {{ stub_status; }}
        location = /page {{ wsgi_proxy_status; }}
        location = /write {{ wsgi_proxy_status page write; allow 127.0.0.1; deny all; }}
        location = /json {{ wsgi_proxy_status json; }}
        location = /metrics {{ wsgi_proxy_status metrics; }}
    }}
}}
"""


def configuration(upstream: Recorder) -> str:
    return CONFIGURATION.format(address=upstream.address, dead=free_port(), port=free_port())


def test_all_workers_tell_the_same_state(tmp_path: Path) -> None:
    with Recorder() as upstream, run_proxy(configuration(upstream), tmp_path) as server:
        for _ in range(20):
            assert fetch(server.port).status == 200

        def state() -> dict[str, Any]:
            found: dict[str, Any] = json.loads(fetch(server.port, "/json").body)
            return found

        wait_until(lambda: state()["requests"] == 20, "the last request to be counted")
        found = state()
        assert found["responses"]["2xx"] == 20 and found["retries"] == 1 and "history" not in found
        good, bad, _, _ = found["upstreams"]["echo"]
        assert (good["server"], good["available"], good["connections"]) == (upstream.address, True, 0)
        assert (bad["available"], bad["failures"]) == (False, 1)
        text = fetch(server.port, "/metrics").body.decode()
        assert re.search(r"^wsgi_proxy_requests_total 20$", text, re.M)
        page = fetch(server.port, "/page")
        assert page.get("Content-Type") == "text/html; charset=utf-8" and page.get("X-Content-Type-Options") == "nosniff"
        assert re.match(
            r"default-src 'none'; script-src 'sha256-\S{44}'; style-src 'sha256-\S{44}';", page.get("Content-Security-Policy")
        )
        assert json.loads(fetch(server.port, "/page?format=json&history").body)["history"]["step"] == 5
        stub = fetch(server.port, "/stub").body.decode()
        assert re.fullmatch(
            r"Active connections: \d+ \nserver accepts handled requests\n \d+ \d+ [23]\d \n"
            r"Reading: 0 Writing: \d Waiting: \d+ \n",
            stub,
        )
        assert fetch(server.port, "/json", "POST").status == 405
        assert fetch(server.port, "/page", "HEAD").body == b""


def rows(page: Page, title: str) -> list[list[str]]:
    """Return the texts of the table with this title."""
    script = """[...document.querySelectorAll('section')].filter(each => each.querySelector('h2').textContent === %s)
        .flatMap(each => [...each.querySelectorAll('tbody tr')].map(row => [...row.children].map(cell => cell.textContent)))"""
    found: list[list[str]] = page.run(script % json.dumps(title))
    return found


def cards(page: Page) -> dict[str, str]:
    found: dict[str, str] = page.run(
        "Object.fromEntries([...document.querySelectorAll('.card')]"
        ".map(each => [...each.children].map(part => part.textContent)))"
    )
    return found


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, from the npm registry; the test is skipped without npm or the registry."""
    folder = tmp_path_factory.mktemp("axe")
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "axe-core@4"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=90)
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry does not answer")
    if done.returncode:
        pytest.skip(f"npm cannot install axe-core: {done.stderr[:200]}")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


def test_the_dashboard_shows_what_a_client_saw(tmp_path: Path) -> None:
    with Recorder(lambda request, wire: reply(b"x" * 1000)) as upstream, run_proxy(configuration(upstream), tmp_path) as server:
        for _ in range(30):
            assert fetch(server.port, headers=[("Host", "main.test")]).status == 200
        for _ in range(4):
            fetch(server.port, "/cached?key=a", headers=[("Host", "main.test")])
        fetch(server.port, "/%3Cimg%20src=x%20onerror=document.title=1%3E", headers=[("Host", "main.test")])
        with browser(tmp_path) as page:
            page.size(1400, 900)
            page.call("Page.navigate", url=f"http://127.0.0.1:{server.port}/page")
            wait_until(lambda: cards(page).get("Requests") == "35", "the figures")
            wait_until(lambda: page.run("document.querySelector('svg path, svg line') !== null"), "the charts")
            places = {row[1]: row for row in rows(page, "Locations")}
            assert places["/"][4:7] == ["30", "30", "0"] and places["/cached"][4] == "4"
            # A name in the configuration is text, whatever it looks like.
            assert places["/<img src=x onerror=document.title=1>"][4] == "1" and page.run("document.images.length") == 0
            servers = rows(page, "Upstream servers")
            assert [row[2] for row in servers] == ["up", "unavail", "down", "up"] and "Connection refused" in servers[1][3]
            assert rows(page, "Limits")[0][:5] == ["limit_req", "slow", "1", "0", "3"]
            assert rows(page, "Caches")[0][3] == "1" and len(rows(page, "Workers")) == 2
            _filter_and_sort(page)
            _keyboard(page)
            # Nothing but the page and its JSON is requested, and the policy has nothing to report.
            assert {re.sub(r"\?.*", "", each) for each in page.requests} <= {f"http://127.0.0.1:{server.port}/page", "data:,"}
            assert page.complaints == []
        assert "favicon" not in server.log()


def _filter_and_sort(page: Page) -> None:
    page.run(
        "document.getElementById('filter').value = 'unavail'; document.getElementById('filter').dispatchEvent(new Event('input'))"
    )
    assert [row[2] for row in rows(page, "Upstream servers")] == ["unavail"]
    page.run("document.getElementById('filter').value = ''; document.getElementById('filter').dispatchEvent(new Event('input'))")
    head = "[...document.querySelectorAll('th button')].find(each => each.textContent === 'Requests')"
    page.run(f"{head}.click()")
    counts = [int(row[4]) for row in rows(page, "Locations")]
    assert counts == sorted(counts, reverse=True) and page.run(f"{head}.parentNode.getAttribute('aria-sort')") == "descending"
    page.run(f"{head}.click()")
    counts = [int(row[4]) for row in rows(page, "Locations")]
    assert counts == sorted(counts) and page.run(f"{head}.parentNode.getAttribute('aria-sort')") == "ascending"


def _keyboard(page: Page) -> None:
    """Every control is reached by Tab, and the focus survives the update of a table."""
    seen = []
    for _ in range(5):
        page.press("Tab")
        seen.append(page.run("document.activeElement.id"))
    assert seen == ["window", "filter", "pause", "theme", ""]
    page.run("document.getElementById('theme').focus()")
    page.press("Enter")
    assert page.run("document.documentElement.dataset.theme") == "light"
    page.press(" ")
    assert page.run("document.documentElement.dataset.theme") == "dark"
    page.run("document.getElementById('pause').focus()")
    page.press(" ")
    assert page.run("document.getElementById('pause').getAttribute('aria-pressed')") == "true"
    page.press(" ")


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (390, True)], ids=["wide", "phone"])
def test_axe_core_finds_nothing(tmp_path: Path, axe: str, width: int, dark: bool) -> None:
    with Recorder() as upstream, run_proxy(configuration(upstream), tmp_path) as server, browser(tmp_path) as page:
        for _ in range(8):
            fetch(server.port, headers=[("Host", "main.test")])
        fetch(server.port, "/cached?key=a", headers=[("Host", "main.test")])
        page.size(width, 844, dark)
        page.call("Page.navigate", url=f"http://127.0.0.1:{server.port}/write")
        wait_until(lambda: "Requests" in cards(page), "the figures")
        wait_until(lambda: rows(page, "Upstream servers"), "the tables")
        background = page.run("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(16, 22, 28)") == dark
        # Wide tables scroll by themselves; the page does not.
        assert page.run("document.documentElement.scrollWidth <= innerWidth")
        page.run(axe)
        found = page.run("axe.run().then(result => result.violations.map(each => each.id + ': ' + each.nodes[0].html))")
        assert found == []
        page.shot(tmp_path / "page.png")


def test_an_action_in_the_browser(tmp_path: Path) -> None:
    with Recorder() as upstream, run_proxy(configuration(upstream), tmp_path) as server, browser(tmp_path) as page:
        page.call("Page.navigate", url=f"http://127.0.0.1:{server.port}/write")
        wait_until(lambda: rows(page, "Upstream servers"), "the tables")
        page.run("window.confirm = text => { window.asked = text; return true; }")
        label = f"drain echo {upstream.address}"
        page.run(f"document.querySelector('button[aria-label=\"{label}\"]').click()")
        wait_until(lambda: rows(page, "Upstream servers")[0][2] == "draining", "the server to drain")
        assert page.run("window.asked") == f"drain: echo {upstream.address}?"
        assert "is set to drain" in page.run("document.getElementById('live').textContent") and page.complaints == []
