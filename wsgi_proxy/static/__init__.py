"""Static files: `root`, `alias`, `index`, `try_files`, `autoindex`."""

from .files import serve, try_files

__all__ = ["serve", "try_files"]
