"""The first day and the first call: the documentation's own text, tried as a new user and as a person on call would.

The other steps have tests where their pages are tested: the demonstration and its dashboard (cli/test_demo), the first start and
a reload (test_guides), a single-page application with its API (test_guides), systemd (test_examples), a read-only container
(packaging/test_packaging), draining a server and finding the slowest location (status/test_actions).
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT, Client, Recorder, environment, fetch, free_port, reply, run_gunicorn, run_proxy
from tests.support.recorder import Recorded, Wire

ADDRESS = "127.0.0.1:3001"


@pytest.fixture
def old() -> Iterator[Recorder]:
    """The application behind the mount: it answers with the target, and echoes the first bytes of a WebSocket."""

    def answer(request: Recorded, wire: Wire) -> bytes | None:
        if request.get("Upgrade"):
            wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            wire.send(b"back: " + wire.recv())
            wire.close()
            return None
        return reply(f"old {request.target}".encode())

    with Recorder(answer) as upstream:
        yield upstream


SETTINGS = """
SECRET_KEY, ROOT_URLCONF, ALLOWED_HOSTS = "x", "urls", ["*"]
"""
URLS = """
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse("home"))]
"""


@pytest.mark.parametrize(("number", "env"), [(1, {}), (2, {"DJANGO_SETTINGS_MODULE": "settings"})], ids=["flask", "django"])
def test_the_mounts_of_the_readme_with_a_websocket(number: int, env: dict[str, str], old: Recorder, tmp_path: Path) -> None:
    block = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)[number]
    assert ADDRESS in block and ("flask" in block, "django" in block) == (number == 1, number == 2)
    folder = tmp_path / "gunicorn"
    folder.mkdir()
    for name, text in (("mounted", block.replace(ADDRESS, old.address)), ("settings", SETTINGS), ("urls", URLS)):
        (folder / f"{name}.py").write_text(text)
    with run_gunicorn("mounted:application", tmp_path, "wsgi_proxy.worker.ProxyWorker", env=env) as server:
        assert fetch(server.port, "/").text == "home"
        assert fetch(server.port, "/legacy/a?b").text == "old /legacy/a?b"
        with Client(server.port) as client:
            client.send(b"GET /legacy/ws HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            said = client.read_until(b"\r\n\r\n")
            client.send(b"frame")
            said += client.read_all()
        assert said.startswith(b"HTTP/1.1 101 ") and said.endswith(b"back: frame")


def variable(line: str) -> str:
    """Return a line without the parts that differ from run to run: numbers, paths and the port."""
    line = re.sub(r"\(\S*nginx\.conf:\d+\)", "(nginx.conf)", line)
    return re.sub(r"(process |excess:? |127\.0\.0\.1:)[\d.]+", r"\1N", line)


@pytest.mark.ours_alone("the pid file is that of the command")
def test_the_reason_for_a_503_is_found_as_the_page_shows(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "operating.md").read_text()
    (zone,) = re.findall(r"under `(limit_req_zone [^`]+)`", page)
    shown = page.partition("A client reports 503")[2].partition("```text\n")[2].partition("```")[0].splitlines()
    prompt, *wanted = shown
    port = free_port()
    with Recorder() as upstream:
        text = f"""events {{}} http {{ {zone} server {{ listen 127.0.0.1:{port};
            location /limited {{ limit_req zone=z; proxy_pass http://{upstream.address}; }} }} }}"""
        with run_proxy(text, tmp_path) as proxy:
            assert [fetch(port, "/limited").status for _ in range(2)] == [200, 503]
            words = prompt.removeprefix("$ wsgi-proxy ").replace("8080", str(port)).split()
            command = [sys.executable, "-m", "wsgi_proxy", *words]
            done = subprocess.run(command, cwd=proxy.folder, env=environment(), capture_output=True, text=True, timeout=120)
            assert (done.returncode, done.stderr) == (0, "")
            assert [variable(line) for line in done.stdout.splitlines()] == [variable(line) for line in wanted]
            assert len(upstream.requests) == 1, "the question has reached no upstream"
