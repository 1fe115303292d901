"""A storage emptied by hand under running workers: no worker serves the removed responses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support import ROOT, Recorder, fetch, free_port, reply, run_proxy, wait_until
from tests.support.caching import Site
from wsgi_proxy.cli.cache import main
from wsgi_proxy.config import CacheZone, Config

CONF = """
worker_processes 3;
events {{}}
http {{
    proxy_cache_path store keys_zone=z:10m {options};
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{upstream}; proxy_cache z; proxy_cache_valid 200 1h; }}
    }}
}}
"""
FRESH = [("Cache-Control", "max-age=86400")]
SMALL, LARGE = b"s" * 100, b"l" * 100_000


@pytest.fixture(params=["", "levels=1:2"])
def site(request, tmp_path):
    numbers = iter(range(1, 10_000))
    guard = threading.Lock()

    def script(asked, wire):
        with guard:
            number = next(numbers)
        body = LARGE if "large" in asked.target else SMALL
        vary = [("Vary", "X-Variant")] if "vary" in asked.target else []
        return reply(b"%d " % number + body, 200, vary)

    port = free_port()
    with Recorder(script) as recorder:
        text = CONF.format(port=port, upstream=recorder.port, options=request.param)
        with run_proxy(text, tmp_path) as running:
            yield Emptied(port, running.folder / "store", running)


class Emptied:
    """A proxy with several workers, and its store's directory."""

    def __init__(self, port: int, folder: Path, running) -> None:
        self.port = port
        self.folder = folder
        self.running = running

    def numbers(self, target: str, times: int = 12) -> set[bytes]:
        """The numbers of the answers that several connections get: enough for every worker to serve one."""
        return {fetch(self.port, target).body.split()[0] for _ in range(times)}

    def number(self, target: str) -> bytes:
        """The number that all workers agree on."""
        found = self.numbers(target)
        assert len(found) == 1, found
        return found.pop()

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "wsgi_proxy", "cache", *words, "-p", str(self.running.folder), "-c", "nginx.conf"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


TARGETS = ["/small", "/large", "/vary"]


def test_emptying_the_folder_empties_the_cache(site):
    before = {target: site.number(target) for target in TARGETS}
    for each in site.folder.iterdir():
        # As `rm -rf store/*`: what begins with a dot stays.
        if not each.name.startswith("."):
            shutil.rmtree(each) if each.is_dir() else each.unlink()
    after = {target: site.number(target) for target in TARGETS}
    assert all(before[target] != after[target] for target in TARGETS), (before, after)


def test_removing_the_folder_leaves_a_cache_that_works(site):
    before = {target: site.number(target) for target in TARGETS}
    shutil.rmtree(site.folder)
    after = {target: site.number(target) for target in TARGETS}
    assert all(before[target] != after[target] for target in TARGETS), (before, after)


@pytest.mark.parametrize("pattern", ["/small", "*"])
def test_after_that_the_command_purges(site, pattern):
    before = site.number("/small")
    shutil.rmtree(site.folder)
    between = site.number("/small")
    assert before != between
    # Every worker has it in memory now.
    purged = site.command("purge", pattern)
    assert purged.returncode == 0 and "purged 1 response" in purged.stdout, purged
    assert site.number("/small") != between


def test_a_folder_that_was_removed_is_swept_again(site):
    site.number("/small")
    shutil.rmtree(site.folder)
    wait_until(lambda: (site.folder / ".wsgi-proxy" / "generations").exists(), "the sweeper makes the folder again", 30)
    assert "cannot sweep" not in site.running.log()
    assert site.number("/small")


@pytest.mark.parametrize("settings", [{"inactive": 300.0}, {"max_size": 20_000}])
def test_what_is_swept_leaves_memory_too(tmp_path, settings):
    site = Site(tmp_path, zone=CacheZone("z", str(tmp_path / "cache"), **settings))
    site.responses((200, FRESH, b"x" * 1000))
    for number in range(8):
        site.get(f"/{number}")
        assert site.get(f"/{number}").word == "HIT"
    zone = site.cache.zones()[0]
    zone.share.swept(100_000, 8, 0)
    for found in zone.entries():
        used = site.now - 100 * int(found.uri[1:])
        os.utime(found.path, (used, used))
    site.cache.sweep(site.now)
    left = {found.uri for found in zone.entries()}
    assert 0 < len(left) < 8
    words = {f"/{number}": site.get(f"/{number}").word for number in range(8)}
    assert {target for target, word in words.items() if word == "HIT"} == left
    site.cache.close()


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_hit_needs_its_file(tmp_path, method):
    site = Site(tmp_path, zone=CacheZone("z", str(tmp_path / "cache")))
    site.responses((200, [*FRESH, ("ETag", '"a"')], b"one"))
    site.get("/")
    assert site.get("/", method).word == "HIT"
    for path in (tmp_path / "cache").glob("[0-9a-f]*"):
        path.unlink()
    assert site.get("/", method, headers=[("If-None-Match", '"b"')]).word == "MISS"
    site.cache.close()


def test_the_command_makes_no_folder(tmp_path, capsys):
    config = Config(path="nginx.conf", cache_zones={"z": CacheZone("z", str(tmp_path / "none"))})
    for words, status in ((["purge", "*"], 1), (["ls"], 1), (["stats"], 0)):
        assert main(words, config) == status
        assert "is empty" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
