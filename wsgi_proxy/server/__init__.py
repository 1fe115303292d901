"""Processes: start, signals, reload and listeners under gunicorn."""

from .application import ServerPlan, run

__all__ = ["ServerPlan", "run"]
