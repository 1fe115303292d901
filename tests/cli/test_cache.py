"""`wsgi-proxy cache`: its output, and purges under a running cache."""

import os
import tempfile
import time
from pathlib import Path

import pytest

from tests.support.caching import Site
from wsgi_proxy.cli.cache import duration, main, size
from wsgi_proxy.config import CacheZone, Config


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path / "cache")
    site.now = time.time()
    site.responses((200, [("Cache-Control", "max-age=60"), ("ETag", '"a"'), ("Vary", "A")], b"x" * 2000))
    site.get("/a/1", headers=[("A", "yes")])
    site.get("/a/2")
    site.now -= 100
    site.responses((404, [("Cache-Control", "max-age=60, must-revalidate")], b"gone"))
    site.get("/b\x1b[31m")
    site.config = Config(path="nginx.conf", cache_zones={"z": site.zone})
    yield site
    site.cache.close()


def run(capsys, site, *argv):
    status = main(list(argv), site.config)
    return status, capsys.readouterr().out


def test_ls(site, capsys):
    status, out = run(capsys, site, "ls")
    lines = sorted(out.splitlines(), key=lambda line: line.split()[-1])
    assert status == 0 and len(lines) == 3
    assert lines[0].split()[:2] == ["200", "2.0k"] and "fresh for 59s" in lines[0] and lines[0].endswith("http://h.test/a/1")
    assert "stale for 40s: lifetime 1m, must be revalidated, no validator" in lines[2]
    assert "\x1b" not in out and "\\x1b" in out
    assert run(capsys, site, "ls", "*/a/*")[1].count("\n") == 2


def test_show(site, capsys):
    status, out = run(capsys, site, "show", "/a/1")
    assert status == 0
    for row in (
        "key        http://h.test/a/1",
        "varies by  a: yes",
        "field      Vary: A",
        "body       2000 bytes",
        "status     200",
    ):
        assert row in out
    assert main(["show", "/nothing"], site.config) == 1
    assert capsys.readouterr() == ("", 'nothing stored matches "/nothing"\n')


def test_purge_holds_in_a_running_cache(site, capsys):
    site.now = time.time()
    assert site.get("/a/2").word == "HIT"
    assert run(capsys, site, "purge", "http://h.test/a/*") == (0, "purged 2 responses\n")
    assert site.get("/a/2").word == "MISS"
    assert run(capsys, site, "purge", "/nothing") == (1, "purged 0 responses\n")
    assert run(capsys, site, "purge", "/b\x1b[[]31m") == (0, "purged 1 response\n")


def test_stats(site, capsys):
    status, out = run(capsys, site, "stats")
    assert status == 0 and "z: " in out and "3 responses, 2 fresh, 3.9k of bodies; inactive 10m" in out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be someone else")
def test_root_works_as_the_user_who_has_the_store():
    # Not below pytest's own directory, which no other user may enter.
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name, "cache")
        site = Site(directory)
        site.responses((200, [("Cache-Control", "max-age=60")], b"x"))
        site.get("/a")
        for path in (Path(name), directory, *directory.rglob("*")):
            os.chown(path, 65534, 65534)
        config = Config(path="nginx.conf", cache_zones={"z": site.zone})
        pid = os.fork()
        if not pid:
            try:
                os._exit(main(["purge", "/a"], config))
            finally:
                os._exit(9)
        assert os.waitpid(pid, 0)[1] == 0
        assert {path.stat().st_uid for path in directory.rglob("*")} == {65534}
        site.cache.close()


def test_misuse(site, capsys, tmp_path):
    assert main([], site.config) == 2
    assert main(["--help"], None) == 0
    for argv in (["foo"], ["purge"], ["show"], ["stats", "x"], ["ls", "a", "b"]):
        assert main(argv, site.config) == 2
    assert main(["ls"], Config(path="nginx.conf")) == 1
    (tmp_path / "file").write_text("")
    broken = Config(cache_zones={"z": CacheZone("z", str(tmp_path / "file" / "x"))})
    assert main(["ls"], broken) == 1
    assert "cannot be opened" in capsys.readouterr().err
    assert main(["stats"], Config(cache_zones={"z": CacheZone("z", "memory")})) == 0


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (1023, "1023"), (1536, "1.5k"), (20 << 20, "20M"), (3 << 30, "3.0G"), (-1, "0")]
)
def test_sizes(number, text):
    assert size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(5.9, "5s"), (200, "3m20s"), (600, "10m"), (7500, "2h5m"), (86400, "1d"), (356400, "4d3h")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
