"""The pooled `requests` session, and the connections to upstream servers."""

from .client_watch import Watched, watched
from .connect import open_stream
from .route import Route
from .sending import NON_IDEMPOTENT
from .session import Outgoing, Reply, Transport
from .wire import Client

__all__ = ["Client", "NON_IDEMPOTENT", "Outgoing", "Reply", "Route", "Transport", "Watched", "open_stream", "watched"]
