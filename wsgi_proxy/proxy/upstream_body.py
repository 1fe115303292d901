"""The body of an upstream's response on its way to the client.

Rules:
- A Forwarded body owns the reply and the lease. The lease ends with the upstream's last byte, before a client can have it: a
  client's next request must find the counts of `least_conn` as nginx would have them. Closing the body ends it as well.
- `proxy_buffering` reads ahead for a slow client, so that the upstream's connection is free early.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..clocks import wall_time
from ..http import first
from .pacing import Paced
from .readahead import PATIENCE, ReadAhead

if TYPE_CHECKING:
    from ..config import ProxySettings
    from ..net import Stream
    from ..response import Attempt
    from ..transport import Client, Reply, Watched
    from ..upstream import Lease
    from .request_body import Upload


class Forwarded:
    """The blocks of an upstream's body in the order of their arrival. Closing it settles the lease."""

    __slots__ = ("_ahead", "_closed", "_settings", "attempt", "lease", "rate", "reply", "upload")

    def __init__(self, reply: Reply, lease: Lease, attempt: Attempt, upload: Upload | None, settings: ProxySettings) -> None:
        self._settings = settings
        self._ahead: ReadAhead | None = None
        self.reply = reply
        self.lease = lease
        self.attempt = attempt
        self.upload = upload
        self.rate = 0
        """Bytes a second to take from the upstream (proxy_limit_rate, for a buffered body); 0 for no limit."""
        self._closed = False
        body = reply.body
        if not body.done:
            body.on_done = self._let_go
        elif reply.status != 101:
            self._let_go()

    def __iter__(self) -> Iterator[bytes]:
        reply = self.reply
        if reply.body.done and not self.rate or not self._buffered():
            return iter(reply.body)
        settings = self._settings
        number, size = settings.buffers
        source = Paced(reply.body, self.rate) if self.rate else reply.body
        self._ahead = ReadAhead(source, number * size, settings.max_temp_file_size, settings.temp_path)
        return iter(self._ahead)

    def ready(self) -> bool:
        """Return True if the first block has arrived."""
        return self.reply.body.ready()

    def next_at_hand(self) -> bool:
        """Return True if the next block, or the end, can be had without waiting. Call it between two blocks."""
        return self.reply.body.next_at_hand() if self._ahead is None else self._ahead.next_at_hand()

    @property
    def buffered(self) -> bool:
        """`proxy_buffering`, or the upstream's choice for this response."""
        return self._buffered()

    def attend(self, client: Client | Watched) -> None:
        """Abort the rest of the body when this client leaves."""
        if not self.reply.body.done:
            self.reply.wire.attend(client)

    def at_hand(self) -> bytes | None:
        """Return the whole body if it arrived together with the head, else None."""
        return None if self.rate else self.reply.body.at_hand()

    def _buffered(self) -> bool:
        """Return `proxy_buffering`, or the upstream's choice for this response (X-Accel-Buffering)."""
        settings = self._settings
        if self.reply.special and "x-accel-buffering" not in settings.ignore_headers:
            word = (first(self.reply.pairs, "x-accel-buffering") or "").lower()
            if word in ("yes", "no"):
                return word == "yes"
        return settings.buffering

    def _let_go(self) -> None:
        """Settle the lease, once: the upstream has sent everything, or the response is abandoned."""
        attempt = self.attempt
        if attempt.response_time is None:
            attempt.response_time = taken = wall_time() - attempt.started
            # A tunnel has added its bytes already.
            attempt.bytes_sent += self.reply.bytes_sent
            attempt.bytes_received += self.reply.bytes_received
            attempt.response_length = self.reply.body.content_received
            self.lease.settle(False, attempt.header_time, taken)
            if attempt.counter is not None:
                attempt.counter.ended(attempt, False)

    @property
    def spliceable(self) -> bool:
        """True if `send_to` is cheaper than iterating."""
        return not self.rate and self.reply.spliceable

    def send_to(self, client: Stream) -> int:
        """Move the whole body to a client's stream and return the number of bytes."""
        if not self._buffered():
            return self.reply.send_to(client)
        sent = self.reply.send_to(client, PATIENCE)
        for block in self:
            client.sendall(block)
            sent += len(block)
        return sent

    def close(self) -> None:
        """Return the connection, settle the lease and drop the request's body; safe to call more than once."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._ahead is not None:
                self._ahead.close()
                self._ahead = None  # it refers back to this object; a cycle would wait for the collector
            self.reply.close()
        finally:
            self._let_go()
            if self.upload is not None:
                self.upload.close()
