"""Whether the next server may have a try: `proxy_next_upstream` and its bounds (ngx_http_upstream_next). Pure.

Rules:
- Only what the configuration lists goes on, and only while tries and time are left.
- A request that is not idempotent and was sent may have had an effect (RFC 9110, 9.2.2): it goes on only with `non_idempotent`.
- A body that cannot be read again cannot be sent again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..transport import NON_IDEMPOTENT

if TYPE_CHECKING:
    from ..config import ProxySettings
    from .request_body import Upload

LISTED = {500: "http_500", 502: "http_502", 503: "http_503", 504: "http_504", 403: "http_403", 404: "http_404", 429: "http_429"}
"""Statuses that `proxy_next_upstream` can name."""
NEVER_FAILURES = frozenset({403, 404})
"""Of these, those that do not count against the server."""


class Retries:
    """What is left of one request's tries. `tries` counts the first one too; `clock` gives seconds."""

    __slots__ = ("_clock", "_kinds", "_method", "_settings", "_started", "_upload", "left")

    def __init__(
        self, settings: ProxySettings, method: str, tries: int, upload: Upload | None, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._kinds = settings.next_upstream
        self._method = method
        self._upload = upload
        self._clock = clock
        self._started = clock() if settings.next_upstream_timeout else 0.0
        self.left = tries
        """Tries not begun yet; the loop takes one each time."""

    def may(self, kind: str | None, sent: bool) -> bool:
        """Whether another server may be asked after a failure of this kind; the body is made ready for it.

        `kind` is nginx's word (None: a status that no word lists), `sent` whether the request may have reached the upstream.
        """
        if self.left <= 0 or kind not in self._kinds:
            return False
        if sent and self._method in NON_IDEMPOTENT and "non_idempotent" not in self._kinds:
            return False
        limit = self._settings.next_upstream_timeout
        if limit and self._clock() - self._started >= limit:
            return False
        return self._upload is None or self._upload.rewind()
