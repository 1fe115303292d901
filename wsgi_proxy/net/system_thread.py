"""Calls that would block the event loop, in a thread of the system.

Rules:
- Under gevent a call runs in the hub's thread pool, and the other greenlets go on. Elsewhere it runs in the calling thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def in_system_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Return function(*args, **kwargs), and raise what it raises."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return function(*args, **kwargs)
    from gevent import get_hub

    result: R = get_hub().threadpool.apply(function, args, kwargs)
    return result
