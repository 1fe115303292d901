"""The file of a zone's pairs."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from wsgi_proxy.keyval.log import Entry
from wsgi_proxy.keyval.state import StateFile, to_bytes, to_text


def test_pairs_are_the_same_after_writing_and_reading(tmp_path: Path) -> None:
    file = StateFile("state.json", str(tmp_path), nullcontext())
    assert file.read() == []
    entries = {b"a": Entry(b"1", 0, 0, 1), b"\xff\xc3\xa9": Entry("é\n".encode(), 5, 0, 2), b"gone": Entry(None, 0, 0, 3)}
    file.write(lambda: entries)
    assert file.read() == [(b"a", b"1", 0), (b"\xff\xc3\xa9", "é\n".encode(), 5)]
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_failed_write_keeps_the_file(tmp_path: Path) -> None:
    file = StateFile(str(tmp_path / "state.json"), "", nullcontext())
    file.write(lambda: {b"a": Entry(b"1", 0, 0, 1)})
    (tmp_path / "state.json").chmod(0o400)
    missing = StateFile(str(tmp_path / "none" / "state.json"), "", nullcontext())
    with pytest.raises(OSError):
        missing.write(dict)
    assert file.read() == [(b"a", b"1", 0)]


def test_a_zone_without_a_file(tmp_path: Path) -> None:
    assert StateFile("", str(tmp_path), nullcontext()).read() == []


def test_any_bytes_survive_json() -> None:
    data = bytes(range(256))
    assert to_bytes(to_text(data)) == data
