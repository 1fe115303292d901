"""The clocks of the request path.

Rules:
- Compiled code calls a constant of this package at once, but looks `time` and its function up at each call of `time.time()`.
"""

from __future__ import annotations

import time
from typing import Final

monotonic: Final = time.monotonic
"""Return the seconds of a clock that only grows."""
wall_time: Final = time.time
"""Return the seconds since the epoch."""
