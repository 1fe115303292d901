"""The gunicorn worker and its client connections. `ProxyWorker` loads gevent, so it is imported on first use."""

from typing import TYPE_CHECKING, Any

from .settings import ListenerSettings, buffer_limits

if TYPE_CHECKING:
    from .worker import ProxyWorker


def __getattr__(name: str) -> Any:
    """Import `ProxyWorker` on first use (PEP 562)."""
    if name != "ProxyWorker":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .worker import ProxyWorker

    return ProxyWorker


__all__ = ["ListenerSettings", "ProxyWorker", "buffer_limits"]
