"""`python -m wsgi_proxy` is the `wsgi-proxy` command."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import environment


@pytest.mark.parametrize("arguments", [["-v"], ["-h"]])
def test_it_says_what_the_command_says(arguments: list[str]) -> None:
    def said(module: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr

    response = said("wsgi_proxy")
    assert response == said("wsgi_proxy")
    assert response[0] == 0 and "wsgi" in response[1] + response[2]
