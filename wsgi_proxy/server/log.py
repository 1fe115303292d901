"""gunicorn's logger, writing to the error log of the configuration in nginx's form.

Rules:
- There is one error log; gunicorn's lines about processes go there too, at the levels nginx gives its own.
- The access log is the application's business, not gunicorn's.
"""

from __future__ import annotations

import os
from typing import Any

from gunicorn.glogging import Logger

from ..logs import errorlog, logfile


class ServerLog(Logger):  # type: ignore[misc]
    """What the arbiter and the workers write to."""

    def setup(self, cfg: Any) -> None:
        """Called by gunicorn at the start and on a reload; where the lines go is set by `ProxyServer`."""
        self.cfg = cfg
        self.error_log = errorlog.logger
        self._access_log_enabled = False

    def reopen_files(self) -> None:
        """Go on in new files where the old ones were moved away (`-s reopen`)."""
        # The main process goes first, and may make files where its workers may not.
        account = self.cfg.uid if os.geteuid() == 0 and self.cfg.uid != 0 else None
        errorlog.reopen(account)
        logfile.reopen_kept(account)

    def close_on_exec(self) -> None:
        """Python's files are not inherited across exec."""
