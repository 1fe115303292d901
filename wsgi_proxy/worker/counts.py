"""The counts that a worker keeps of its connections and requests, and their indexes.

Rules:
- `Service.counts` has the counts of its worker. An application may give it a row that workers share (`status.Metrics`), to which
  each change is then written. No other object writes to these words of the row.
- A connection counts in one of READING, WRITING and WAITING at a time, or in none (NOWHERE), as in nginx's stub_status: from the
  first byte of a head to its last it is read, until the end of the response and of lingering it is written, and between
  requests it waits. Over HTTP/2 each stream is written, and the connection waits while it has no stream.
"""

from __future__ import annotations

from typing import Any, Final

ACCEPTED: Final = 0
STARTED: Final = 1
ACTIVE: Final = 2
READING: Final = 3
WRITING: Final = 4
WAITING: Final = 5
NOWHERE: Final = 6
"""An index that is counted in and not read."""
HANDSHAKES: Final = 7
"""TLS handshakes that have succeeded, resumed ones included."""
RESUMED: Final = 8
HANDSHAKES_FAILED: Final = 9
SIZE: Final = 10


class Tally:
    """The counts of a worker. A change of its own list and a write cost less than a change in shared memory."""

    __slots__ = ("_row", "_values")

    def __init__(self) -> None:
        self._values = [0] * SIZE
        self._row: Any = None

    def share(self, row: Any) -> None:
        """Go on in a row that an application shares with other workers; only the first application's row is taken."""
        if self._row is None:
            for index in range(SIZE):
                row[index] = self._values[index] = row[index] + self._values[index]
            self._row = row

    def add(self, index: int, number: int = 1) -> None:
        """Add a number to a count."""
        value = self._values[index] + number
        self._values[index] = value
        if self._row is not None:
            self._row[index] = value

    def __getitem__(self, index: int) -> int:
        return self._values[index]
