"""What `python -m` starts: the command, and the printing of the table."""

from __future__ import annotations

import subprocess
import sys

from tests.support import ROOT
from wsgi_proxy.nginx.directives.__main__ import document


def test_the_package_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wsgi_proxy", "-v"], capture_output=True, text=True, cwd=ROOT, timeout=120, check=True
    )
    assert done.stderr.startswith("wsgi-proxy version: wsgi-proxy/")


def test_the_document_has_a_line_for_each_row() -> None:
    text = document()
    assert "| `proxy_read_timeout` | http, server, location | TAKE1 |  |\n" in text
    assert "\\|" in text, "a bar in a note is escaped"
