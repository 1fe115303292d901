"""The folders of `proxy_cache_path`, made by the process that may: the workers often run as another user.

As nginx: the master makes each folder, mode 0700, and gives it to the workers' account. What cannot be made is a line in the
log; the workers then find no store and cache nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...config import CacheZone

logger = logging.getLogger("wsgi_proxy")


def make_folders(zones: Iterable[CacheZone], prefix: str = "", account: tuple[int, int] | None = None) -> None:
    """Make the folder of each zone that lies in one; ``account`` is the (uid, gid) that it is for, None for our own."""
    for settings in zones:
        if not is_folder(settings.path):
            continue
        path = os.path.join(prefix, settings.path)
        try:
            os.makedirs(path, 0o700, exist_ok=True)
            if account is not None and os.stat(path).st_uid != account[0]:
                os.chown(path, *account)
        except OSError as error:
            logger.error('mkdir() "%s" failed (%s: %s)', path, error.errno, error.strerror)


def is_folder(path: str) -> bool:
    """Whether a `proxy_cache_path` names a folder, and not another kind of storage."""
    return path.startswith("/") or (path != "memory" and ":" not in path)
