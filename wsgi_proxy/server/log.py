"""gunicorn's logger, which writes to the configuration's error log in nginx's format.

Rules:
- gunicorn's lines about processes go to the same error log, at nginx's levels.
- The application writes the access log. gunicorn's is off.
"""

from __future__ import annotations

import os
from typing import Any

from gunicorn.glogging import Logger

from ..logs import errorlog, logfile


class ServerLog(Logger):  # type: ignore[misc]
    """The logger of the arbiter and the workers."""

    def setup(self, cfg: Any) -> None:
        """Use the error log that `ProxyServer` has set up. gunicorn calls this at the start and at each reload."""
        self.cfg = cfg
        self.error_log = errorlog.logger
        self._access_log_enabled = False

    def reopen_files(self) -> None:
        """Reopen the log files by name after a rotation (`-s reopen`)."""
        # The main process reopens first, because it may create files in directories that the workers cannot write to.
        account = self.cfg.uid if os.geteuid() == 0 and self.cfg.uid != 0 else None
        errorlog.reopen(account)
        logfile.reopen_kept(account)

    def close_on_exec(self) -> None:
        """Do nothing: Python's files are not inherited across exec."""
