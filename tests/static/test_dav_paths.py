"""The parts that WebDAV's methods share."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from wsgi_proxy.static.dav_paths import directory_mode, fault, status_of


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (errno.ENOENT, 409),
        (errno.ENOTDIR, 409),
        (errno.EACCES, 403),
        (errno.EEXIST, 405),
        (errno.ENOSPC, 507),
        (errno.EIO, 500),
    ],
)
def test_a_failure_has_nginxs_status(number: int, status: int) -> None:
    refusal = fault(OSError(number, os.strerror(number)), "mkdir()", b"/x", 409)
    assert refusal.status == status and str(refusal) == f'mkdir() "/x" failed ({number}: {os.strerror(number)})'


def test_a_directory_can_be_entered_by_its_readers() -> None:
    assert [oct(directory_mode(mode)) for mode in (0o600, 0o644, 0o660)] == ["0o700", "0o755", "0o770"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "missing")
    assert status_of(os.fsencode(link)).st_ino == link.lstat().st_ino
