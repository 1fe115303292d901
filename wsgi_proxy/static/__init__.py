"""Static files: `root`, `alias`, `index`, `try_files`, `autoindex`."""

from .files import serve, try_files
from .store import keep

__all__ = ["keep", "serve", "try_files"]
