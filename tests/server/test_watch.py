"""`wsgi_proxy_watch`: changed files reload a real proxy under load, and faulty ones change nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support import Client, fetch, free_port, run_proxy, wait_until
from tests.support.pools import Clock
from tests.support.processes import Running
from tests.support.server_site import Load
from wsgi_proxy import nginx
from wsgi_proxy.server.watch import RETRY, Watcher

MAIN = """
worker_processes 2;
wsgi_proxy_watch on;
daemon off;
error_log stderr notice;
events {{}}
http {{
  access_log off;
  keepalive_requests 1000000;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 {text}; }} location = /status {{ wsgi_proxy_status json; }} }}
  include conf.d/*.conf;
}}
"""
OURS = pytest.mark.ours_alone("the arbiter of the command watches")


def reloads(port: int) -> dict[str, object]:
    found: dict[str, object] = json.loads(fetch(port, "/status").body)["reloads"]
    return found


def emergencies(server: Running) -> list[str]:
    return [line for line in server.log().splitlines() if "[emerg]" in line]


@OURS
def test_a_changed_file_is_taken_without_a_lost_request(tmp_path: Path) -> None:
    port = free_port()
    with run_proxy(MAIN.format(port=port, text="one"), tmp_path) as server, Load(port) as load:
        path = server.folder / "nginx.conf"
        wait_until(lambda: load.responses[-1:] == ["one"], "the first response")
        path.write_text(MAIN.format(port=port, text="two"))
        wait_until(lambda: load.responses[-1:] == ["two"], "the changed configuration")
        wait_until(lambda: reloads(port)["reloads"] == 1, "the end of the reload")
        # An editor writes another file and renames it.
        (server.folder / "new").write_text(MAIN.format(port=port, text="three"))
        os.replace(server.folder / "new", path)
        wait_until(lambda: load.responses[-1:] == ["three"], "the renamed file")
    assert load.faults == []
    assert list(dict.fromkeys(load.responses)) == ["one", "two", "three"]
    assert emergencies(server) == []


@OURS
def test_a_faulty_file_is_one_line_and_the_old_one_serves(tmp_path: Path) -> None:
    port = free_port()
    good = MAIN.format(port=port, text="one")
    with run_proxy(good, tmp_path) as server, Load(port, 2) as load:
        path = server.folder / "nginx.conf"
        path.write_text(good.replace("access_log off;", "nonsense on;\n nonsense off;"))
        wait_until(lambda: reloads(port)["last_reload_ok"] is False, "the failure in the status")
        (line,) = emergencies(server)
        assert "the changed configuration is not used, the old one stays in use: " in line
        assert 'nginx.conf:8: unknown directive "nonsense"; ' in line and "nginx.conf:9" in line
        assert "nginx.conf:8" in str(reloads(port)["last_reload_error"])
        # The former contents return: the status is good again.
        path.write_text(good)
        wait_until(lambda: reloads(port)["last_reload_ok"] is True, "the end of the failure")
        path.write_text(good.replace("one", "two"))
        wait_until(lambda: load.responses[-1:] == ["two"], "a good file after the faulty one")
        assert len(emergencies(server)) == 1
    assert load.faults == []


@OURS
def test_the_links_of_a_configmap_are_swapped(tmp_path: Path) -> None:
    """Kubernetes writes a new directory and renames a link to it over `..data`, to which the files are links."""
    port = free_port()
    volume = tmp_path / "volume"

    def publish(version: str, text: str) -> None:
        directory = volume / f"..{version}"
        directory.mkdir(parents=True)
        (directory / "nginx.conf").write_text(MAIN.format(port=port, text=text))
        os.symlink(directory.name, volume / "..data_tmp")
        os.replace(volume / "..data_tmp", volume / "..data")

    publish("2026_01", "one")
    os.symlink("..data/nginx.conf", volume / "nginx.conf")
    with run_proxy(MAIN.format(port=port, text="unused"), tmp_path, args=["-c", str(volume / "nginx.conf")]) as server:
        assert fetch(port, "/").text == "one"
        with Load(port, 2) as load:
            publish("2026_02", "two")
            wait_until(lambda: load.responses[-1:] == ["two"], "the swapped files")
            publish("2026_03", "{")
            wait_until(lambda: reloads(port)["last_reload_ok"] is False, "the faulty file")
            publish("2026_04", "three")
            wait_until(lambda: load.responses[-1:] == ["three"], "the next files")
    assert load.faults == [] and len(emergencies(server)) == 1


@OURS
def test_included_files_come_change_and_go(tmp_path: Path) -> None:
    port, other = free_port(), free_port()
    with run_proxy(MAIN.format(port=port, text="one"), tmp_path) as server:
        directory = server.folder / "conf.d"
        directory.mkdir()
        part = directory / "more.conf"
        part.write_text(f"server {{ listen 127.0.0.1:{other}; return 200 more; }}")
        wait_until(lambda: answer(other) == "more", "the new file")
        part.write_text(f"server {{ listen 127.0.0.1:{other}; return 200 changed; }}")
        wait_until(lambda: answer(other) == "changed", "the changed file")
        part.unlink()
        wait_until(lambda: answer(other) is None, "the end of its listener")
        assert fetch(port, "/").text == "one"


def answer(port: int) -> str | None:
    """The text of a response, None without a listener."""
    try:
        with Client(port) as client:
            return client.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").text
    except (OSError, AssertionError):
        return None


def look(watcher: Watcher, clock: Clock) -> list[bool]:
    """Look three times at one-second steps."""
    found = []
    for _ in range(3):
        clock.now += 1
        found.append(watcher.changed())
    return found


def watched(folder: Path, text: str = "") -> tuple[Watcher, Clock]:
    clock = Clock(100.0)
    (folder / "nginx.conf").write_text(text or "events {} http { include conf.d/*.conf; }")
    return Watcher(nginx.load(str(folder / "nginx.conf")), clock), clock


def test_a_change_is_told_once_and_when_it_has_settled(tmp_path: Path) -> None:
    watcher, clock = watched(tmp_path)
    assert look(watcher, clock) == [False, False, False]
    path = tmp_path / "nginx.conf"
    for number in range(5):
        path.write_text(f"events {{}} http {{}} # {number * '+'}")
        clock.now += 1
        assert not watcher.changed(), "the file still changes"
    assert look(watcher, clock) == [True, False, False]
    # The file was not loaded: it could not be used, and is tried again later.
    clock.now += RETRY
    assert look(watcher, clock) == [True, False, False]


def test_the_same_contents_need_no_reload(tmp_path: Path) -> None:
    watcher, clock = watched(tmp_path)
    look(watcher, clock)
    path = tmp_path / "nginx.conf"
    text = path.read_text()
    os.utime(path, (1, 1))
    assert look(watcher, clock) == [False, False, False]
    path.unlink()
    assert look(watcher, clock).count(True) == 1
    path.write_text(text)
    assert look(watcher, clock).count(True) == 1, "the contents in use return after a failure"
    assert look(watcher, clock) == [False, False, False]


def test_a_renewed_certificate_is_a_change(tmp_path: Path) -> None:
    for suffix in ("pem", "key"):
        (tmp_path / f"site.{suffix}").write_text("first")
    server = "server { listen 443 ssl; ssl_certificate site.pem; ssl_certificate_key site.key; }"
    watcher, clock = watched(tmp_path, f"events {{}} http {{ {server} }}")
    assert look(watcher, clock) == [False, False, False]
    (tmp_path / "site.key").write_text("second")
    assert look(watcher, clock).count(True) == 1
