"""The server processes under gunicorn: start, signals, reload and listeners."""

from .application import ServerPlan, run

__all__ = ["ServerPlan", "preflight", "run"]
