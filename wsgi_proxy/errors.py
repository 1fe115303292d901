"""What can go wrong, whose fault it is, and which status the client gets.

Rules:
- Every fault of a request that we know of is a `ProxyError`; anything else that escapes is a defect of ours and becomes a 500.
- An error of an upstream says two things the hallway needs: its `kind` (the word of nginx's `proxy_next_upstream` that covers
  it) and whether the request was `sent`, because what was sent may have had an effect (RFC 9110, 9.2.2) and is tried again only
  when the method is idempotent.
- The message is for the log, never for the client: it may name an upstream.
"""

from __future__ import annotations

__all__ = ["CheckFailed", "ConfigError", "Fault"]


class ProxyError(Exception):
    """A request that ends with `status`; the message goes to the error log."""

    status = 500

    def __init__(self, message: str = "", *, status: int | None = None) -> None:
        super().__init__(message)
        if status is not None:
            self.status = status


class ClientError(ProxyError):
    """The client's request is wrong or not allowed: 4xx."""

    status = 400


class Refusal(ClientError):
    """The guard lets the request no further. What there is to say is already in the log, at the level the configuration names,
    so the message may be empty; `headers` go out with the answer (WWW-Authenticate, Proxy-Authenticate)."""

    status = 403

    def __init__(self, message: str = "", *, status: int | None = None, headers: list[tuple[str, str]] | None = None) -> None:
        super().__init__(message, status=status)
        self.headers: list[tuple[str, str]] = headers or []


class ClientGone(ProxyError):
    """The client went away before it had its answer; nginx logs it as 499."""

    status = 499


class UpstreamError(ProxyError):
    """An upstream did not give a usable answer.

    `kind` is nginx's word for it (`error`, `timeout`, `invalid_header`); `sent` is False only when it is certain that no byte of
    the request reached the upstream; `fresh` is False when the connection had been kept from an earlier request.
    """

    status = 502
    kind = "error"

    def __init__(self, message: str = "", *, sent: bool = True, fresh: bool = True) -> None:
        super().__init__(message)
        self.sent = sent
        self.fresh = fresh


class ConnectFailed(UpstreamError):
    """The connection was refused, unreachable, or its TLS handshake failed."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message, sent=False)


class UpstreamClosed(UpstreamError):
    """The upstream closed or reset the connection before its answer's head was complete."""


class UpstreamTimeout(UpstreamError):
    """Connecting, sending or waiting for the answer took longer than the configuration allows."""

    status = 504
    kind = "timeout"


class InvalidResponse(UpstreamError):
    """The upstream's answer has no, or more than one, reading (RFC 9112)."""

    kind = "invalid_header"


class TruncatedResponse(UpstreamError):
    """The upstream's body ended early; raised while it is read, so that the client's connection is cut and never ended."""


class NoLiveUpstreams(UpstreamError):
    """No server of the pool is eligible for this request (any more)."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message, sent=False)


class CheckFailed(Exception):
    """Raised by a health check that an upstream did not pass; the message says why."""


class ConfigError(Exception):
    """One or more faults of a configuration; its text has a line for each.

    Args:
        faults: The faults, in the order of the file; also the attribute `faults`.
    """

    def __init__(self, *faults: Fault) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


class Fault:
    """One fault of a configuration.

    Args:
        message: The description, in nginx's words where nginx has the fault.
        file: The path of the configuration file; empty if there is none.
        line: The line in the file.
    """

    __slots__ = ("file", "line", "message")

    def __init__(self, message: str, file: str = "", line: int | None = None) -> None:
        self.message = message
        self.file = file
        self.line = line

    def __str__(self) -> str:
        if not self.file:
            return self.message
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"
