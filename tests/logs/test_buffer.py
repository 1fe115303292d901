"""Buffered access logs: `buffer=`, `flush=` and `gzip`."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.logs.test_accesslog import Logging
from tests.support import fetch, free_port, run_nginx, run_proxy, wait_until
from wsgi_proxy.logs import buffer


def test_lines_are_written_together(tmp_path: Path) -> None:
    written: list[bytes] = []
    held = buffer.LineBuffer(written.append, 10)
    for line in (b"one\n", b"two\n", b"three\n", b"a long line\n", b"end\n"):
        held.add(line)
    assert written == [b"one\ntwo\n", b"three\n", b"a long line\n"]
    held.flush()
    held.flush()
    assert written[3:] == [b"end\n"]


def test_the_oldest_line_waits_no_longer_than_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(buffer.time, "monotonic", lambda: now)
    written: list[bytes] = []
    held = buffer.LineBuffer(written.append, 100, 5.0)
    held.add(b"one\n")
    now = 104.0
    held.add(b"two\n")
    held.flush_due()
    assert written == []
    now = 105.0
    held.flush_due()
    held.flush_due()
    assert written == [b"one\ntwo\n"]


def test_a_file_has_one_buffer_for_all_its_logs(tmp_path: Path) -> None:
    text = f"log_format f $uri; access_log {tmp_path}/a.log f; access_log {tmp_path}/a.log f buffer=1k; "
    side = Logging(text, tmp_path)
    side.write("/x")
    assert not (tmp_path / "a.log").exists()
    side.logs.reopen()
    assert (tmp_path / "a.log").read_text() == "/x\n/x\n"
    side.write("/y")
    side.logs.close()
    assert (tmp_path / "a.log").read_text() == "/x\n/x\n/y\n/y\n"


def test_gzip_files_are_nginxs(tmp_path: Path) -> None:
    """Each buffer is a member of the file; at the end of a process the rest is written."""
    told = []
    for run in (run_nginx, run_proxy):
        port, path = free_port(), tmp_path / f"{run.__name__}.gz"
        text = f"""events {{}} http {{
            log_format f "$uri"; access_log {path} f gzip=9 buffer=4k if=$arg_log;
            server {{ listen {port}; return 204; }}
        }}"""
        with run(text, tmp_path):
            for number in range(700):
                assert fetch(port, f"/{number}?log={number % 2}").status == 204
        told.append(gzip.decompress(path.read_bytes()))
        assert path.read_bytes().count(b"\x1f\x8b\x08") >= 1
    # Each worker has a buffer, so the lines of two are not in order.
    assert sorted(told[0].splitlines()) == sorted(told[1].splitlines()) == sorted(b"/%d" % number for number in range(1, 700, 2))


def test_flush_writes_while_the_server_runs(tmp_path: Path) -> None:
    port, path = free_port(), tmp_path / "a.log"
    text = f"events {{}} http {{ access_log {path} combined buffer=4k flush=1s; server {{ listen {port}; return 204; }} }}"
    with run_proxy(text, tmp_path):
        fetch(port, "/x")
        wait_until(lambda: path.exists() and b"GET /x" in path.read_bytes(), "the line")
