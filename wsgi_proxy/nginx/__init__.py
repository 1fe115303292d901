"""Reading an nginx.conf into a configuration."""

from .reader import load, unresolved

__all__ = ["load", "unresolved"]
