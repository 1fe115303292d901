"""Files: `root`, `alias`, `index`, `autoindex`."""

from .files import serve, try_files

__all__ = ["serve", "try_files"]
