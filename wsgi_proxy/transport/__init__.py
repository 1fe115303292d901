"""The pooled `requests` session, and the connections to upstream servers."""

from .client_watch import Watched, watched
from .connect import open_stream
from .reply import Call, Reply
from .route import Route
from .sending import NON_IDEMPOTENT
from .session import Transport
from .wire import Client

__all__ = ["Call", "Client", "NON_IDEMPOTENT", "Reply", "Route", "Transport", "Watched", "open_stream", "watched"]
