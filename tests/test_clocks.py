"""The clocks of the request path are those of the module `time`."""

from __future__ import annotations

import time

from wsgi_proxy.clocks import monotonic, wall_time


def test_the_clocks_are_those_of_the_system() -> None:
    before = time.time(), time.monotonic()
    shown = wall_time(), monotonic()
    after = time.time(), time.monotonic()
    assert before[0] <= shown[0] <= after[0] and before[1] <= shown[1] <= after[1]
