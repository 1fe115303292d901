"""`post_action`: a request to another location after the response to the client, whose response is dropped.

Rules:
- The request has the client's method, fields, body and variables; `$status`, `$body_bytes_sent` and `$request_completion` tell of
  the response to the client.
- Its time delays the next request of the connection, as in nginx. Its faults are in the error log.
- The location that answers has no `post_action`: nginx would follow it, up to ten times.
Source: ngx_http_request.c, ngx_http_post_action.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ProxyError
from ...logs import errorlog
from .mirror import take_body
from .request import Subrequests, within

if TYPE_CHECKING:
    from ...exchange import Exchange

_TOLD = ("body_bytes_sent", "completed", "response", "status", "tries")


def run_post_action(subrequests: Subrequests, exchange: Exchange) -> None:
    """Send a request that has ended to the `post_action` of its location, if that has one."""
    location = exchange.location_or_none
    if location is None or not location.core.post_action:
        return
    uri = location.core.post_action
    inner = within(exchange, background=True, conditions=True)
    inner.method = exchange.method
    inner.environ["REQUEST_METHOD"] = exchange.method
    for name in _TOLD:
        setattr(inner, name, getattr(exchange, name))
    take_body(inner, exchange)
    try:
        if uri.startswith("/"):
            subrequests.send(inner, uri, "").close()
        else:
            inner.uri, inner.args = exchange.uri, exchange.args
            subrequests.send_named(inner, uri).close()
    except ProxyError as error:
        errorlog.line("error", str(error), inner)
    except Exception:  # the response has been sent: nothing else reports a defect
        errorlog.logger.exception("defect in the post_action of %s %s", exchange.method, exchange.target)
    finally:
        for lease in inner.leases or ():
            lease.close()
