"""Processes: start, signals, reload and listeners under gunicorn."""

from .application import Plan, run

__all__ = ["Plan", "run"]
