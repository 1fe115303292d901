"""`gzip_static` and `brotli_static`: files that lie compressed beside the requested one.

Rules:
- `on` serves the compressed file to clients that accept it, `always` to all of them, even if there is no other file.
- A client that accepts both codings gets Brotli.
- A compressed file that cannot be opened counts as missing. As in nginx its ranges are not served.
Source: ngx_http_gzip_static_module, by behaviour.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from ..access import open_file
from ..filters import accepts_brotli, may_compress
from ..logs import errorlog

if TYPE_CHECKING:
    from ..exchange import Exchange

_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})


class Compressed:
    """The search for a compressed file. `handle` is the open file, -1 without one."""

    __slots__ = ("coding", "handle")

    def __init__(self, exchange: Exchange, path: bytes) -> None:
        self.handle = -1
        self.coding = ""
        brotli, settings = exchange.location.brotli, exchange.location.gzip
        if brotli.static != "off":
            accepted = brotli.static == "always" or accepts_brotli(exchange)
            self._look(exchange, path + b".br", "br", brotli.static, accepted)
        if settings.static != "off" and self.handle < 0:
            accepted = settings.static == "always" or may_compress(exchange, settings, None)
            self._look(exchange, path + b".gz", "gzip", settings.static, accepted)

    def _look(self, exchange: Exchange, path: bytes, coding: str, mode: str, accepted: bool) -> None:
        if not (accepted or exchange.location.gzip.vary):
            return
        try:
            handle = open_file(exchange, path)
        except OSError as error:
            if error.errno not in _MISSING:
                name = path.decode("latin-1")
                errorlog.line("error", f'open() "{name}" failed ({error.errno}: {error.strerror})', exchange)
            return
        regular = stat.S_ISREG(os.fstat(handle).st_mode)
        if mode == "on":
            exchange.varies = True
        if accepted and regular:
            self.handle, self.coding = handle, coding
        else:
            os.close(handle)
