"""The file of a zone's pairs (`keyval_zone … state=file`).

Rules:
- The file is one JSON object: `{"key": "value"}`, or `{"key": {"value": "…", "expires": …}}` for a pair that expires, in
  milliseconds since the epoch.
- A file is replaced as a whole. It holds text in UTF-8; bytes that are none are kept as lone surrogates.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from .log import Entry


def to_text(data: bytes) -> str:
    """Return bytes as text for JSON."""
    return data.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """Return the bytes of a text from JSON."""
    return text.encode("utf-8", "surrogateescape")


class StateFile:
    """The file of one zone; `path` is empty for a zone without one. `lock` excludes the other writers."""

    def __init__(self, path: str, prefix: str, lock: AbstractContextManager[None]) -> None:
        self.path = os.path.join(prefix, path) if path else ""
        self._lock = lock

    def read(self) -> list[tuple[bytes, bytes, int]]:
        """Return (key, value, expiry) of each pair. A missing file has none. Raises OSError, or ValueError for wrong contents."""
        if not self.path:
            return []
        try:
            with open(self.path, encoding="utf-8") as file:
                found = json.load(file)
        except FileNotFoundError:
            return []
        if not isinstance(found, dict):
            raise ValueError("a JSON object is expected")
        pairs = []
        for key, given in found.items():
            value, expires = given, 0
            if isinstance(given, dict):
                value, expires = given.get("value"), given.get("expires", 0)
            if not isinstance(value, str) or type(expires) is not int or expires < 0:
                raise ValueError(f"the value of {key!r} is no string")
            pairs.append((to_bytes(key), to_bytes(value), expires))
        return pairs

    def write(self, entries: Callable[[], Mapping[bytes, Entry]]) -> None:
        """Write the pairs that `entries` returns under the lock. Raises OSError."""
        with self._lock:
            pairs = {
                to_text(key): {"value": to_text(entry.value), "expires": entry.expires} if entry.expires else to_text(entry.value)
                for key, entry in entries().items()
                if entry.value is not None
            }
            text = json.dumps(pairs, indent=0)
            where, name = os.path.split(self.path)
            handle, path = tempfile.mkstemp(prefix=f".{name}.", dir=where)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(text + "\n")
                os.replace(path, self.path)
            except BaseException:
                os.unlink(path)
                raise
