"""The kind of build, and the reason that an installation keeps if it could not compile."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsgi_proxy import build


def test_compiled_is_what_is_imported() -> None:
    from wsgi_proxy.proxy import proxy

    assert build.compiled() == (not (proxy.__file__ or "").endswith(".py"))


def test_without_a_failure_there_is_nothing_to_say() -> None:
    assert build.failure() == ""
    assert build.warning() == ""


def test_a_failure_is_told_with_its_reason_and_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "__file__", str(tmp_path / "build.py"))
    (tmp_path / build.REASON_FILE).write_text("no working C compiler (gcc)\n")
    assert build.failure() == "no working C compiler (gcc)"
    assert "no working C compiler (gcc); install a C compiler" in build.warning()
    assert "--no-cache-dir" in build.warning()
