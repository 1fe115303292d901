"""The directories that the master makes for the workers: cache zones and temporary files.

Rules:
- As in nginx, they have mode 0700 and belong to the workers' account. A failure is a line in the log.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..cache import is_directory
from ..config import Config, locations_of
from ..logs import errorlog


def directories_of(config: Config) -> set[str]:
    """Return the absolute paths of a configuration's directories."""
    names = {path for at in locations_of(config) for path in (at.core.client_body_temp_path, at.proxy.temp_path) if path}
    names |= {zone.path for zone in config.cache_zones.values() if is_directory(zone.path)}
    return {os.path.join(config.prefix, name) for name in names}


def make_directories(directories: Iterable[str], account: tuple[int, int] | None = None) -> None:
    """Create directories for an account, (uid, gid) or None for this process's."""
    for directory in directories:
        try:
            os.makedirs(directory, 0o700, exist_ok=True)
            if account is not None and os.stat(directory).st_uid != account[0]:
                os.chown(directory, *account)
        except OSError as error:
            errorlog.line("error", f'mkdir() "{directory}" failed ({error.errno}: {error.strerror})')
