"""tempfiles: files for bodies, and faults of the disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from wsgi_proxy.errors import ProxyError
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.proxy import tempfiles as tempfolder


def test_a_file_has_no_name_and_nothing_waits_in_it(tmp_path: Path) -> None:
    with tempfolder.open_file(str(tmp_path)) as file:
        tempfolder.write(file, b"x" * 100, str(tmp_path))
        assert os.fstat(file.fileno()).st_size == 100
        assert os.listdir(tmp_path) == []


def test_a_folder_that_is_missing_is_made(tmp_path: Path) -> None:
    with tempfolder.open_file(str(tmp_path / "a" / "b")):
        assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_what_the_disk_refuses_is_a_500_and_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProxyError) as refused:
        tempfolder.open_file(str(tmp_path / "file"))
    assert refused.value.status == 500 and "open() in" in caplog.text


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk(caplog: pytest.LogCaptureFixture) -> None:
    with open("/dev/full", "wb", buffering=0) as file, pytest.raises(ProxyError) as refused:
        tempfolder.write(file, b"x", "/f")
    assert refused.value.status == 500 and 'pwrite() in "/f" failed (28: No space left on device)' in caplog.text


def test_a_named_file_is_kept_or_removed(tmp_path: Path) -> None:
    for keep in (True, False):
        x = Exchange()
        file = tempfolder.named_file(str(tmp_path / "new"), keep, x)
        tempfolder.write(file, b"body", "")
        assert Path(x.request_body_file).read_bytes() == b"body"
        assert os.stat(x.request_body_file).st_mode & 0o777 == 0o660
        file.close()
        file.close()
        assert Path(x.request_body_file).exists() is keep
