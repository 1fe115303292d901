"""Counters, `stub_status` and the status page."""

from .metrics import Metrics
from .page import Status

__all__ = ["Metrics", "Status"]
