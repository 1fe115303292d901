"""Counters, `stub_status`, the dashboard, and metrics for Prometheus."""

from .board import BOARD
from .histogram import quantile
from .metrics import Metrics
from .names import location_name, server_names
from .page import Status
from .snapshot import Sources

__all__ = ["BOARD", "Metrics", "Sources", "Status", "location_name", "quantile", "server_names"]
