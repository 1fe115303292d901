"""Requests of the proxy on behalf of a client's request: mirrored requests, and the parts of a page."""

from .mirror import Mirrors
from .post_action import run_post_action
from .request import Subrequests
from .slices import sliced

__all__ = ["Mirrors", "Subrequests", "run_post_action", "sliced"]
