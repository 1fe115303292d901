"""A real uWSGI for tests, with a WSGI application of the test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .processes import Running, running

BINARY = next((path for name in ("uwsgi_python3", "uwsgi") if (path := shutil.which(name))), "")
needs_uwsgi = pytest.mark.skipif(
    not BINARY, reason="uWSGI is not installed (Debian: apt-get install uwsgi-core uwsgi-plugin-python3)"
)


@contextmanager
def run_uwsgi(app: str, folder: Path) -> Iterator[Running]:
    """uWSGI at `folder/uwsgi.sock` with the source of a module that has `application`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tested_app.py").write_text(app)
    command = [BINARY]
    if not BINARY.endswith("python3"):
        command += ["--plugin", "python3"]
    command += ["--socket", str(folder / "uwsgi.sock"), "--chdir", str(folder), "--module", "tested_app", "--need-app"]
    command += ["--master", "--processes", "3", "--die-on-term", "--buffer-size", "65535"]
    with running(Running(command, folder), [str(folder / "uwsgi.sock")]) as server:
        yield server
