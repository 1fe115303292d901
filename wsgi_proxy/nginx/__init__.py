"""Reading an nginx.conf into a configuration."""

from .directives.expiry import outdated
from .reader import load, unresolved

__all__ = ["load", "outdated", "unresolved"]
