"""A php-fpm for tests, on a unix socket in a directory of the test."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .processes import Running, running

_FOUND = [shutil.which("php-fpm"), *sorted(glob.glob("/usr/sbin/php-fpm*"))]
BINARY = next((path for path in _FOUND if path), "")
needs_php = pytest.mark.skipif(not BINARY, reason="php-fpm is not installed (Debian: apt-get install php-fpm)")


@contextmanager
def run_php(folder: Path, workers: int = 4) -> Iterator[Running]:
    """php-fpm at `folder/php.sock` with a fixed number of workers; its log is `log()`."""
    folder.mkdir(parents=True, exist_ok=True)
    root = os.geteuid() == 0
    (folder / "fpm.conf").write_text(
        f"""
[global]
error_log = /dev/stderr
daemonize = no
[www]
{"user = root" if root else ""}
{"group = root" if root else ""}
listen = {folder}/php.sock
listen.mode = 0666
pm = static
pm.max_children = {workers}
php_admin_value[post_max_size] = 64M
php_admin_value[memory_limit] = 256M
php_admin_flag[display_errors] = off
php_admin_flag[log_errors] = on
"""
    )
    command = [BINARY, "-F", "-n", "-y", str(folder / "fpm.conf")]
    if root:
        command.append("-R")
    with running(Running(command, folder), [str(folder / "php.sock")]) as server:
        yield server
