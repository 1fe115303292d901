"""accesslog: lines that stay whole, files that are rotated, and logs that cannot be written. Formats are compared with nginx in
test_log_differential."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.routing import environ
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.logs.accesslog import AccessLogs
from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.routing.router import Router


class Logging:
    """The logs of a configuration, and exchanges to write."""

    def __init__(self, text: str, folder: Path) -> None:
        server = "server { listen 80; location /off { access_log off; } }"
        self.config = nginx.loads(f"events {{}} http {{ {text} {server} }}", prefix=str(folder))
        self.router = Router(self.config)
        self.logs = AccessLogs(self.config)

    def write(self, target: str = "/", host: str = "h") -> None:
        x = Exchange.from_environ(environ("GET", target, [("Host", host)], 80))
        self.router.route(x)
        x.status = 200
        self.logs.write(x)


def test_one_line_for_each_log(tmp_path: Path) -> None:
    side = Logging(f"log_format short $uri; access_log {tmp_path}/a.log; access_log b.log short;", tmp_path)
    side.write("/x")
    side.write("/off")
    assert (tmp_path / "b.log").read_text() == "/x\n"
    assert (tmp_path / "a.log").read_text().endswith('] "GET /x HTTP/1.1" 200 0 "-" "-"\n')
    side.logs.close()


def test_a_request_without_a_place_goes_to_the_default(tmp_path: Path) -> None:
    side = Logging(f"access_log {tmp_path}/a.log;", tmp_path)
    x = Exchange.from_environ(environ("GET", "/", [], 80))
    side.logs.write(x)
    assert len((tmp_path / "a.log").read_text().splitlines()) == len(side.config.core.access_log)
    side.logs.close()


def test_conditions(tmp_path: Path) -> None:
    side = Logging(f"log_format f $args; access_log {tmp_path}/a.log f if=$arg_log;", tmp_path)
    for value in ("1", "0", "", "yes"):
        side.write(f"/?log={value}")
    assert (tmp_path / "a.log").read_text() == "log=1\nlog=yes\n"
    side.logs.close()


def test_rotation(tmp_path: Path) -> None:
    side = Logging(f"log_format f $uri; access_log {tmp_path}/a.log f; access_log {tmp_path}/$host.log f;", tmp_path)
    side.write("/1")
    for name in ("a", "h"):
        (tmp_path / f"{name}.log").rename(tmp_path / f"{name}.old")
    side.write("/2")
    side.logs.reopen()
    side.write("/3")
    # A file whose name has variables is opened for each line.
    for name, old, new in (("a", "/1\n/2\n", "/3\n"), ("h", "/1\n", "/2\n/3\n")):
        assert (tmp_path / f"{name}.old").read_text() == old
        assert (tmp_path / f"{name}.log").read_text() == new
    side.logs.close()


@pytest.mark.parametrize(("cache", "most"), [("", 0), ("open_log_file_cache max=32;", 32)])
def test_files_by_variables_are_bounded_and_stay_below(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, cache: str, most: int
) -> None:
    side = Logging(f"log_format f $arg_n; {cache} access_log {tmp_path}/$arg_n.log f;", tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(100):
        side.write(f"/?n={number}")
    assert len(os.listdir("/proc/self/fd")) - before == most
    assert (tmp_path / "0.log").read_text() == "0\n"
    (tmp_path / "99.log").rename(tmp_path / "renamed")
    side.write("/?n=99")
    assert (tmp_path / "99.log").exists() is (not most)
    side.write("/?n=/../../x")
    assert "is refused" in caplog.text and not (tmp_path.parent / "x.log").exists()
    side.logs.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_log_that_cannot_be_opened_costs_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    side = Logging(f"access_log {tmp_path}/none/a.log;", tmp_path)
    side.write()
    side.write()
    assert caplog.text.count(f'open() "{tmp_path}/none/a.log" failed (2: No such file or directory)') == 1
    (tmp_path / "none").mkdir()
    side.write()
    assert len((tmp_path / "none" / "a.log").read_text().splitlines()) == 1
    side.logs.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_costs_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    side = Logging("access_log /dev/full;", tmp_path)
    side.write()
    side.write()
    assert caplog.text.count('write() to "/dev/full" failed (28: No space left on device)') == 1
    side.logs.close()


def test_lines_of_threads_stay_whole_while_files_are_opened_again(tmp_path: Path) -> None:
    text = f'log_format f "$uri {"x" * 200}"; access_log {tmp_path}/a.log f; access_log {tmp_path}/$host.log f;'
    side = Logging(text, tmp_path)

    def write(number: int) -> None:
        for _ in range(200):
            side.write(f"/{number}")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        side.logs.reopen()
    for name in ("a", "h"):
        lines = (tmp_path / f"{name}.log").read_text().splitlines()
        assert sorted(lines) == sorted(f"/{number} {'x' * 200}" for number in range(4) for _ in range(200))
    side.logs.close()


def test_standard_output(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.logs.test_accesslog import Logging;"
        "side = Logging('log_format f $uri; access_log /dev/stdout f; access_log /dev/stderr f;', Path(sys.argv[1]));"
        "side.write('/x'); side.logs.reopen(); side.write('/y')"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("/x\n/y\n", "/x\n/y\n")
