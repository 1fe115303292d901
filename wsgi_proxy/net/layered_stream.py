"""A stream on top of another one: the part that does not depend on the layer's encoding.

Rules:
- The layer owns the lower stream. Its timeouts become the lower stream's at each wait.
"""

from __future__ import annotations

from typing import Any

from .stream import Stream


class LayeredStream(Stream):
    """A stream that sends and receives by the stream `lower`."""

    __slots__ = ("lower",)

    def __init__(self, lower: Stream) -> None:
        self.lower = lower
        self.plain = False
        self.read_timeout = lower.read_timeout
        self.write_timeout = lower.write_timeout

    def breathe(self) -> None:
        self.lower.breathe()

    def wait_writable(self) -> None:
        self.lower.write_timeout = self.write_timeout
        self.lower.wait_writable()

    def fileno(self) -> int:
        return self.lower.fileno()

    def getsockname(self) -> Any:
        return self.lower.getsockname()

    def detach(self) -> int:
        return self.lower.detach()
