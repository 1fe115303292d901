"""The indexes of the counts that a worker keeps of its connections and requests.

Rules:
- `Service.counts` is a sequence of integers: a list, until an application gives a row that workers share (`status.Metrics`).
- A connection counts in one of READING, WRITING and WAITING at a time, or in none (NOWHERE), as in nginx's stub_status: from the
  first byte of a head to its last it is read, until the end of the response and of lingering it is written, and between
  requests it waits. Over HTTP/2 each stream is written, and the connection waits while it has no stream.
"""

from __future__ import annotations

from typing import Final

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
