"""The loop over the servers of a pool, and the rules for another attempt (`proxy_next_upstream`, `tunnel_next_upstream`).

Rules:
- The loop is the only one: `proxy_pass` and `tunnel_pass` say how one server is tried, and Attempts does the rest.
- A failed attempt settles its lease at once. A successful one leaves it to the result.
- Another attempt follows only a failure that the configuration lists, while attempts and time are left.
- A non-idempotent request may have had an effect once it was sent (RFC 9110, section 9.2.2). It is sent again only with
  `non_idempotent`.
- A body that cannot be read again cannot be sent again.
Source: ngx_http_upstream_next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import mypyc_attr

from ..clocks import wall_time
from ..errors import NoLiveUpstreams, Refusal, UpstreamError
from ..logs import errorlog
from ..response import Attempt
from ..transport import NON_IDEMPOTENT

if TYPE_CHECKING:
    from ..config import ProxySettings, TunnelSettings
    from ..exchange import Exchange
    from ..upstream import Lease, Pool
    from .request_body import Upload

LISTED: Final = {
    500: "http_500",
    502: "http_502",
    503: "http_503",
    504: "http_504",
    403: "http_403",
    404: "http_404",
    429: "http_429",
}
"""The statuses that `proxy_next_upstream` can name."""
NEVER_FAILURES: Final = frozenset({403, 404})
"""Those of them that do not count against the server."""


def count_end(attempt: Attempt, failed: bool) -> None:
    """Count an attempt that has ended; `failed` is True for a failure that counts against the server."""
    if attempt.counter is not None:
        attempt.counter.ended(attempt, failed)


def count_retry(attempt: Attempt, kind: str | None) -> None:
    """Count the attempt that follows a failed one; `kind` is nginx's word for the failure."""
    if attempt.counter is not None:
        attempt.counter.retried(kind or "other")


class Retries:
    """The attempts left to one request. `tries` includes the first one; `clock` returns seconds."""

    __slots__ = ("_clock", "_kinds", "_limit", "_method", "_started", "_upload", "left")

    def __init__(
        self,
        settings: ProxySettings | TunnelSettings,
        method: str,
        tries: int,
        upload: Upload | None,
        clock: Callable[[], float],
    ) -> None:
        self._kinds: frozenset[str] = settings.next_upstream
        self._limit: float = settings.next_upstream_timeout
        self._method = method
        self._upload = upload
        self._clock = clock
        self._started = clock() if self._limit else 0.0
        self.left = tries
        """Attempts not begun yet; the loop takes one each time."""

    def may(self, kind: str | None, sent: bool) -> bool:
        """Return True if another server may be tried after a failure of this kind, and make the body ready for it.

        `kind` is nginx's word, None for a status that no word lists. `sent` is True if the request may have reached the upstream.
        """
        if self.left <= 0 or kind not in self._kinds:
            return False
        if sent and self._method in NON_IDEMPOTENT and "non_idempotent" not in self._kinds:
            return False
        if self._limit and self._clock() - self._started >= self._limit:
            return False
        return self._upload is None or self._upload.rewind()


@mypyc_attr(allow_interpreted_subclasses=True)
class Attempts:
    """The attempts of one request at the servers of a pool. A subclass implements `send` and `url`."""

    __slots__ = ("exchange", "pool", "retries")

    def __init__(self, exchange: Exchange, pool: Pool, retries: Retries) -> None:
        self.exchange = exchange
        self.pool = pool
        self.retries = retries

    def send(self, lease: Lease, attempt: Attempt) -> Any:
        """Try one server and return the result, which then owns the lease; None after settling it, for another attempt.

        Raises UpstreamError for a failed attempt, Refusal if the destination is denied.
        """
        raise NotImplementedError

    def url(self, lease: Lease) -> str:
        """Return the server's name for the error log."""
        raise NotImplementedError

    def run(self) -> Any:
        """Return the first result. Raises the error of the last attempt, NoLiveUpstreams if no server can be tried."""
        exchange, retries = self.exchange, self.retries
        exchange.tried = None
        if exchange.tries:
            # An internal redirect came here: every server may be tried again, and the variables show a new group of attempts.
            exchange.tries.append(Attempt(""))
        while True:
            lease = self._lease()
            attempt = exchange.tries[-1]
            retries.left -= 1
            try:
                result = self.send(lease, attempt)
            except UpstreamError as error:
                lease.reason = str(error)
                lease.settle(True)
                # No name outlives this clause: the traceback holds this frame, and with it everything that the request had.
                self._note_failure(attempt, error, self.url(lease))
                count_end(attempt, True)
                if not retries.may(error.kind, error.sent):
                    raise
                count_retry(attempt, error.kind)
                continue
            except Refusal as error:
                lease.settle(False)
                self._note_failure(attempt, error, "")
                count_end(attempt, False)
                if not retries.may("denied", False):
                    raise
                count_retry(attempt, "denied")
                continue
            except BaseException:
                lease.settle(False)
                count_end(attempt, False)
                raise
            if result is not None:
                return result

    def _lease(self) -> Lease:
        """Lease a server and record the attempt."""
        exchange = self.exchange
        if exchange.trace is not None:
            for line in self.pool.candidates(exchange.tried):
                exchange.why("candidate", line)
        try:
            lease = self.pool.lease(exchange)
        except NoLiveUpstreams as error:
            # nginx's $upstream_addr names the upstream itself then.
            exchange.tries.append(Attempt(self.pool.name))
            exchange.tries[-1].status = error.status
            raise
        attempt = Attempt(lease.peer.name)
        exchange.tries.append(attempt)
        if exchange.metrics is not None:
            attempt.counter = exchange.metrics.peer(self.pool, lease.peer)
        return lease

    def _note_failure(self, attempt: Attempt, error: UpstreamError | Refusal, url: str) -> None:
        """Record a failed attempt; with a `url` also in the error log, for a refusal is logged by the access rules."""
        exchange = self.exchange
        attempt.status = error.status
        attempt.error = str(error)
        if isinstance(error, UpstreamError):
            attempt.bytes_sent, attempt.bytes_received = error.bytes_sent, error.bytes_received
        attempt.response_time = wall_time() - attempt.started
        if url:
            errorlog.line("error", str(error), exchange, url)
        if exchange.trace is not None:
            exchange.why("upstream", f"{attempt.address} failed: {error}")
