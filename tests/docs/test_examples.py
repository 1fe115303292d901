"""Every file of examples/ is run or, where it is for another program, checked; those that a guide shows are the guide's."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import (
    ROOT,
    Client,
    Recorded,
    Recorder,
    Running,
    Wire,
    environment,
    fetch,
    free_port,
    reply,
    run_gunicorn,
    running,
    wait_until,
)

EXAMPLES = ROOT / "examples"
GUIDES = ROOT / "docs" / "guides"
COMMAND = [sys.executable, "-m", "wsgi_proxy"]
ADDRESS = "127.0.0.1:3001"


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language in a guide."""
    return re.findall(rf"^```{language}\n(.*?)^```", (GUIDES / page).read_text(), re.S | re.M)


@pytest.fixture
def old() -> Iterator[Recorder]:
    """The old application: it answers with the target, and echoes the first bytes of a WebSocket."""

    def response(request: Recorded, wire: Wire) -> bytes | None:
        if request.get("Upgrade"):
            wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            wire.send(b"back: " + wire.recv())
            wire.close()
            return None
        return reply(f"old {request.target}".encode(), headers=[("Content-Type", "text/plain")])

    with Recorder(response) as upstream:
        yield upstream


def copied(name: str, old: Recorder, folder: Path) -> None:
    """Copy an example to where gunicorn runs it, with the old application's address."""
    target = folder / "gunicorn"
    target.mkdir()
    for path in (EXAMPLES / name).iterdir():
        if path.is_file():
            (target / path.name).write_text(path.read_text().replace(ADDRESS, old.address))


@pytest.mark.parametrize(("name", "spec"), [("flask", "app:app"), ("django", "app:application")])
@pytest.mark.parametrize("worker", ["gthread", "wsgi_proxy.worker.ProxyWorker"])
def test_an_application_that_forwards_a_path(name: str, spec: str, worker: str, old: Recorder, tmp_path: Path) -> None:
    copied(name, old, tmp_path)
    with run_gunicorn(spec, tmp_path, worker) as server:
        assert fetch(server.port, "/", host="localhost").body == b"new home"
        response = fetch(server.port, "/legacy/a?b", host="localhost")
        assert response.body == b"old /a?b"
        assert fetch(server.port, "/other", host="localhost").status == 404
        with Client(server.port) as client:
            client.send(b"GET /legacy/ws HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            said = client.read_until(b"\r\n\r\n")
            client.send(b"frame")
            said += client.read_all()
        assert said.startswith(b"HTTP/1.1 101 ") and said.endswith(b"\r\n\r\nback: frame")
    request, _ = old.requests
    assert (request.get("Host"), request.get("X-Forwarded-For")) == ("localhost", "127.0.0.1")


def test_the_strangler(old: Recorder, tmp_path: Path) -> None:
    copied("strangler", old, tmp_path)
    with run_gunicorn("app:app", tmp_path, "wsgi_proxy.worker.ProxyWorker") as server:
        assert fetch(server.port, "/").body == b"new home"
        assert fetch(server.port, "/shop/cart").body == b"new cart"
        states = [fetch(server.port, "/shop/products/1").get("X-Cache") for _ in range(2)]
        assert states == ["MISS", "HIT"]
        assert fetch(server.port, "/account/me", host="www.example.org").body == b"old /account/me"
        assert fetch(server.port, "/unknown").status == 404
    assert [request.target for request in old.requests] == ["/shop/products/1", "/account/me"]
    assert old.requests[-1].get("Host") == "www.example.org"


# --- systemd ----------------------------------------------------------------------------------------------------------------


class Unit:
    """A unit file: sections of (key, value) pairs, since keys repeat."""

    def __init__(self, path: Path) -> None:
        self.sections: dict[str, list[tuple[str, str]]] = {}
        for line in path.read_text().splitlines():
            if line.startswith("["):
                section = self.sections.setdefault(line.strip("[]"), [])
            elif line:
                key, _, value = line.partition("=")
                section.append((key, value))

    def all(self, section: str, key: str) -> list[str]:
        return [value for name, value in self.sections[section] if name == key]


UNIT = EXAMPLES / "systemd" / "wsgi-proxy.service"


def test_the_unit_is_the_guides() -> None:
    assert blocks("systemd.md", "ini") == [UNIT.read_text(), UNIT.with_suffix(".socket").read_text()]


def test_the_unit_is_valid(tmp_path: Path) -> None:
    unit = Unit(UNIT)
    assert list(unit.sections) == ["Unit", "Service", "Install"]
    assert unit.all("Service", "KillSignal") == ["SIGQUIT"] and unit.all("Install", "WantedBy") == ["multi-user.target"]
    analyze = shutil.which("systemd-analyze")
    if analyze:
        # Its own programs must exist: the paths of the guide do not, here.
        path = tmp_path / UNIT.name
        path.write_text(UNIT.read_text().replace("/opt/wsgi-proxy/bin/wsgi-proxy", "/bin/true"))
        done = subprocess.run([analyze, "verify", str(path)], capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_is_hardened(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=30", UNIT], capture_output=True, text=True, timeout=120
    )
    if "Unknown" in done.stderr or "unrecognized" in done.stderr:
        pytest.skip("this systemd-analyze rates no files")
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_commands_of_the_unit(old: Recorder, tmp_path: Path) -> None:
    unit = Unit(UNIT)
    (variable,) = unit.all("Service", "Environment")
    name, _, value = variable.strip('"').partition("=")
    port = free_port()
    conf = tmp_path / "nginx.conf"
    conf.write_text(f"events {{}} http {{ server {{ listen 127.0.0.1:{port}; location / {{ return 204; }} }} }}")
    (tmp_path / "state").mkdir()

    def command(text: str) -> list[str]:
        words = []
        for word in shlex.split(text):
            word = value if word == f"${{{name}}}" else word
            word = word.replace("/etc/wsgi-proxy/nginx.conf", str(conf)).replace("/var/lib/wsgi-proxy/", f"{tmp_path}/state/")
            words.append(word.replace("/run/wsgi-proxy", str(tmp_path)))
        assert words[0] == "/opt/wsgi-proxy/bin/wsgi-proxy"
        return [*COMMAND, *words[1:]]

    (before,), (start,) = unit.all("Service", "ExecStartPre"), unit.all("Service", "ExecStart")
    check, reload = unit.all("Service", "ExecReload")
    assert subprocess.run(command(before), env=environment(), timeout=120).returncode == 0
    with running(Running(command(start), tmp_path), [port]) as server:
        assert fetch(port).status == 204
        # Written once all workers are started; the first one may respond before.
        wait_until((tmp_path / "nginx.pid").exists)
        assert int((tmp_path / "nginx.pid").read_text()) == server.pid, "Type=notify: the main process stays"
        assert subprocess.run(command(check), env=environment(), timeout=120).returncode == 0
        assert reload == "/bin/kill -HUP $MAINPID"
        assert server.stop(3) == 0, "SIGQUIT"


# --- Compose ----------------------------------------------------------------------------------------------------------------

COMPOSE = EXAMPLES / "compose"


def test_the_files_of_compose_are_the_guides() -> None:
    shown = [(COMPOSE / name).read_text() for name in ("Dockerfile", "nginx.conf", "compose.yaml")]
    assert [*blocks("docker.md", "dockerfile"), *blocks("docker.md", "nginx"), *blocks("docker.md", "yaml")] == shown


def dockerfile() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (COMPOSE / "Dockerfile").read_text().splitlines():
        word, _, rest = line.partition(" ")
        found.setdefault(word, []).append(rest)
    return found


def test_the_image_has_what_its_command_names() -> None:
    image = dockerfile()
    assert set(image) == {"FROM", "RUN", "COPY", "USER", "WORKDIR", "EXPOSE", "STOPSIGNAL", "CMD"}
    assert json.loads(image["CMD"][0]) == ["wsgi-proxy", "-g", "daemon off;"]
    # The default configuration is ./nginx.conf.
    assert image["COPY"] == [f"nginx.conf {image['WORKDIR'][0]}/nginx.conf"]
    assert image["RUN"][1].endswith(f" {image['USER'][0]}")


def test_compose_names_what_there_is() -> None:
    services: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
    assert set(services) == {"proxy", "app"}
    assert services["proxy"]["build"] == "." and services["proxy"]["depends_on"] == ["app"]
    assert services["proxy"]["ports"] == [f"{dockerfile()['EXPOSE'][0]}:8080"]
    configuration = (COMPOSE / "nginx.conf").read_text()
    assert "server app:8000 resolve;" in configuration and services["app"]["command"][-1].endswith("--bind 0.0.0.0:8000")


def test_the_proxy_of_compose_runs_and_is_healthy(old: Recorder, tmp_path: Path) -> None:
    port = free_port()
    text = (COMPOSE / "nginx.conf").read_text().replace("app:8000 resolve", old.address).replace("listen 8080", f"listen {port}")
    (tmp_path / "nginx.conf").write_text(text)
    words = json.loads(dockerfile()["CMD"][0])[1:]
    services = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
    mark, command, *check = services["proxy"]["healthcheck"]["test"]
    assert (mark, command) == ("CMD", "wsgi-proxy")
    with running(Running([*COMMAND, *words], tmp_path), [port]) as server:

        def healthy() -> bool:
            done = subprocess.run([*COMMAND, *check], cwd=tmp_path, env=environment(), timeout=120, stderr=subprocess.DEVNULL)
            return done.returncode == 0

        assert healthy()
        assert fetch(port, "/x", host="www.example.org").body == b"old /x"
        assert server.stop(3) == 0
    assert not healthy()
    assert len(old.requests) == 1 and old.requests[-1].get("Host") == "www.example.org"
    assert [line for line in server.log().splitlines() if "HTTP/1" in line and '"GET /x HTTP/1.1" 200' not in line] == []


def test_every_example_is_in_the_list() -> None:
    listed = re.findall(r"\]\((\w+)/", (EXAMPLES / "README.md").read_text())
    assert sorted(listed) == sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir() and path.name != "__pycache__")
    for path in re.findall(r"\]\(([^)]+)\)", (EXAMPLES / "README.md").read_text()):
        assert (EXAMPLES / path).exists(), path
