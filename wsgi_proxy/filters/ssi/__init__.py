"""Server Side Includes."""

from .filter import compile_ssi

__all__ = ["compile_ssi"]
