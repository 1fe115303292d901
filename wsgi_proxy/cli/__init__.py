"""The command line: `wsgi-proxy`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .command import main


def __getattr__(name: str) -> Any:
    """Import `main` on first use (PEP 562); a sub-command run by itself does not need it."""
    if name != "main":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .command import main

    return main


__all__ = ["command", "main"]
