"""The exceptions of the package, and the status that the client gets for each.

Rules:
- Every expected fault of a request is a `ProxyError`. Any other exception that escapes is a bug and becomes a 500.
- An `UpstreamError` carries the facts that a retry depends on: its `kind` (the parameter of nginx's `proxy_next_upstream` that
  covers it), and `sent`. A request that was sent may have had an effect, so it is retried only if its method is idempotent (RFC
  9110, section 9.2.2).
- The message is for the log, never for the client, because it may name an upstream.
"""

from __future__ import annotations

__all__ = ["CheckFailed", "ConfigError", "Fault"]


class ProxyError(Exception):
    """A fault that ends a request with `status`. The message goes to the error log."""

    status = 500
    error_type = "proxy_internal_error"
    """The error type of Proxy-Status (RFC 9209, section 2.3); "" for a response that is no error of a proxy."""

    def __init__(self, message: str = "", *, status: int | None = None) -> None:
        super().__init__(message)
        if status is not None:
            self.status = status


class ClientError(ProxyError):
    """A fault of the client's request: it is malformed or not allowed (4xx)."""

    status = 400
    error_type = "http_request_error"


class InvalidLine(ClientError):
    """The request line is malformed, so no field has been read: Host does not choose the server block of the error page."""


class MissingHost(ClientError):
    """The request has no Host: the server block with the empty name, else the default, makes the error page."""


_FAULTY_REQUEST = frozenset({413, 421, 495, 496, 497})
"""The statuses of a Refusal that judge the request's form, not the client's rights."""


class Refusal(ClientError):
    """A refusal by the access rules.

    The reason has been logged at the level that the configuration names, so the message may be empty. `headers` are sent with
    the response (WWW-Authenticate, Proxy-Authenticate).
    """

    status = 403

    def __init__(self, message: str = "", *, status: int | None = None, headers: list[tuple[str, str]] | None = None) -> None:
        super().__init__(message, status=status)
        self.headers: list[tuple[str, str]] = headers or []
        if self.status not in _FAULTY_REQUEST:
            self.error_type = "http_request_denied"


class ClientGone(ProxyError):
    """The client closed the connection before it had the whole response. nginx logs it as 499."""

    status = 499


class UpstreamError(ProxyError):
    """An upstream did not give a usable response.

    `kind` is nginx's word for the fault (`error`, `timeout`, `invalid_header`). `sent` is False only if certainly no byte of the
    request reached the upstream. `fresh` is False if the connection was kept from an earlier request.
    """

    status = 502
    kind = "error"
    error_type = "http_protocol_error"

    def __init__(self, message: str = "", *, sent: bool = True, fresh: bool = True, error_type: str = "") -> None:
        super().__init__(message)
        if error_type:
            self.error_type = error_type
        self.sent = sent
        self.fresh = fresh
        self.bytes_sent = self.bytes_received = 0


class ConnectFailed(UpstreamError):
    """The connection was refused, the host unreachable, or the TLS handshake failed."""

    error_type = "connection_refused"

    def __init__(self, message: str = "", *, error_type: str = "") -> None:
        super().__init__(message, sent=False, error_type=error_type)


class UpstreamClosed(UpstreamError):
    """The upstream closed or reset the connection before the head of its response was complete."""

    error_type = "connection_terminated"


class UpstreamTimeout(UpstreamError):
    """Connecting, sending or waiting for the response took longer than the configuration allows."""

    status = 504
    kind = "timeout"
    error_type = "connection_read_timeout"


class InvalidResponse(UpstreamError):
    """The upstream's response is malformed or ambiguous (RFC 9112)."""

    kind = "invalid_header"


class TruncatedResponse(UpstreamError):
    """The upstream's body ended early. It is raised while the body is read, so that the client's connection is cut, not ended."""

    error_type = "http_response_incomplete"


class NoLiveUpstreams(UpstreamError):
    """No server of the pool is eligible, or eligible any more, for this request."""

    error_type = "destination_unavailable"

    def __init__(self, message: str = "", *, error_type: str = "") -> None:
        super().__init__(message, sent=False, error_type=error_type)


class CheckFailed(Exception):
    """An upstream failed a health check; the message gives the reason."""


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
