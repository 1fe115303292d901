"""The address of `--bind`, and its check before `make demo` installs anything."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, Recorder, free_port
from wsgi_proxy.cli import address


def test_a_free_address_and_a_taken_one() -> None:
    assert address.unusable(("127.0.0.1", free_port())) == ""
    assert address.unusable(("192.0.2.1", 80)) == "Cannot assign requested address"
    with Recorder() as other:
        assert address.unusable(address.parse_bind(other.address)) == "Address already in use"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_demo_looks_at_the_address_before_it_installs(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "wsgi_proxy" / "cli").mkdir(parents=True)
    shutil.copy(ROOT / "wsgi_proxy" / "cli" / "address.py", tmp_path / "wsgi_proxy" / "cli")
    with Recorder() as other:
        command = ["make", "demo", f"BIND={other.address}", f"PYTHON={sys.executable}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    told = f"make demo: {other.address}: Address already in use; choose another address: make demo BIND=ADDRESS:PORT"
    # The Makefile looks for tests, which the copy does not have.
    assert told in done.stderr.splitlines()
    assert not (tmp_path / ".venv").exists()
