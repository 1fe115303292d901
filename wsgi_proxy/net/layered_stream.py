"""A stream on top of another one: the part that does not depend on the layer's encoding.

Rules:
- The layer owns the lower stream. Its timeouts become the lower stream's at each wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .stream import Stream

if TYPE_CHECKING:
    from typing_extensions import Buffer


class LayeredStream(Stream):
    """A stream that sends and receives by the stream `lower`."""

    __slots__ = ("lower",)

    def __init__(self, lower: Stream) -> None:
        self.lower = lower
        self.plain = False
        self.read_timeout = lower.read_timeout
        self.write_timeout = lower.write_timeout

    def recv_into(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self.recv(len(view))
        view[: len(data)] = data
        return len(data)

    def sendmsg(self, buffers: Sequence[Buffer]) -> None:
        self.sendall(b"".join(buffers))

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
