"""Static files: `root`, `alias`, `index`, `try_files`, `autoindex`."""

from .empty_gif import serve_empty_gif
from .files import serve, try_files
from .store import keep

__all__ = ["keep", "serve", "serve_empty_gif", "try_files"]
