"""The configuration of each contender for the same work. A module has `launch(setup) -> Launch`. Rules:
- `/` goes to the six servers (600 in one scenario) by the fewest open requests, over kept connections; `/cached/` through a
  cache where the contender has one; `/text` is compressed by gzip at level 1; `/ws` goes to the WebSocket server.
- A plain and a TLS listener, TLS 1.3 only, HTTP/2 by ALPN; an access log in a file; two workers; no limit on the size of a body.
- Clients may be idle for 300 s. Features that nginx does not have by default and that cost time, such as request ids, are off.
"""

from .setup import Launch, Setup

__all__ = ["Launch", "Setup"]
