"""The command as `python -m wsgi_proxy` starts it, and the reference as `python -m wsgi_proxy.nginx.directives` prints it."""

from __future__ import annotations

import subprocess
import sys

from tests.support import ROOT
from wsgi_proxy.nginx.directives import TABLE
from wsgi_proxy.nginx.directives.__main__ import document


def test_the_package_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wsgi_proxy", "-v"], capture_output=True, text=True, cwd=ROOT, timeout=120, check=True
    )
    assert done.stderr.startswith("wsgi-proxy version: wsgi-proxy/")


def test_the_document_describes_each_row() -> None:
    text = document()
    for row in (row for rows in TABLE.values() for row in rows):
        line = f"`{row.name}`" if row.note or row.like else f"### `{row.name}`\n"
        assert line in text, row.name
