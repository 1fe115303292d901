"""The gunicorn worker and its client connections. They load gevent, so they are imported on first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .settings import ListenerSettings, buffer_limits

if TYPE_CHECKING:
    from .link import Link
    from .response import ResponseWriter
    from .worker import ProxyWorker

_MODULES = {"Link": "link", "ProxyWorker": "worker", "ResponseWriter": "response"}


def __getattr__(name: str) -> Any:
    """Import a class of the worker on first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


__all__ = ["Link", "ListenerSettings", "ProxyWorker", "ResponseWriter", "buffer_limits"]
