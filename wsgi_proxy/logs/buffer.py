"""Lines of an access log that are collected and written together: `buffer=`, `flush=` and `gzip=` of `access_log`.

Rules:
- The lines are written when the next one does not fit, when the oldest has waited for `flush`, when the logs are reopened, and
  when the process ends. Each process has a buffer of its lines.
- With `gzip` each write is one member of a gzip file, so that the file can be read while it grows.
Source: ngx_http_log_module.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable

GZIP_SIZE = 64 * 1024
"""The size of a buffer of `gzip` without `buffer=`, in bytes."""


class LineBuffer:
    """The lines of one file. `size` is in bytes, `flush` in seconds (0: no limit), `gzip` a level (0: none)."""

    def __init__(self, write: Callable[[bytes], None], size: int, flush: float = 0.0, gzip: int = 0) -> None:
        self._write = write
        self.size = size
        self.flush_after = flush
        self.gzip = gzip
        self._lines: list[bytes] = []
        self._held = 0
        self._since = 0.0
        self._lock = threading.Lock()

    def add(self, line: bytes) -> None:
        """Hold a line, or write it if it is longer than the buffer."""
        with self._lock:
            if self._held + len(line) > self.size:
                self._empty()
            if len(line) > self.size:
                self._put(line)
                return
            if not self._lines:
                self._since = time.monotonic()
            self._lines.append(line)
            self._held += len(line)

    def flush(self) -> None:
        """Write the lines."""
        with self._lock:
            self._empty()

    def flush_due(self) -> None:
        """Write the lines if the oldest has waited long enough."""
        if self.flush_after and self._lines and time.monotonic() - self._since >= self.flush_after:
            self.flush()

    def _empty(self) -> None:
        if self._lines:
            lines, self._lines, self._held = self._lines, [], 0
            self._put(b"".join(lines))

    def _put(self, data: bytes) -> None:
        if self.gzip:
            packer = zlib.compressobj(self.gzip, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
            data = packer.compress(data) + packer.flush()
        self._write(data)
