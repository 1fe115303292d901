"""nginx's variables of upstreams and forwarding, in the forms of `variables/request`.

Rules:
- A variable has one value for each attempt, with `, ` between attempts and ` : ` where an internal redirect led to another group:
  an attempt without an address (`Attempt("")`) marks the redirect, as an empty state does in nginx.
- A missing time is "-". Sizes are bytes.
Source: nginx's documentation of ngx_http_upstream_module and ngx_http_proxy_module, "Embedded Variables".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..access import is_elsewhere
from .request import find_cookie

if TYPE_CHECKING:
    from ..exchange import Exchange
    from ..http import Pairs
    from ..response import Attempt

TEXT: dict[str, str] = {
    "proxy_add_x_forwarded_for": "forwarded_for(x)",
}

OPTIONAL: dict[str, str] = {
    "proxy_host": "(x.proxy_host or None)",
    "proxy_port": "(x.proxy_port if x.proxy_host else None)",
    "upstream_addr": "(each_address(x.tries) if x.tries else None)",
    "upstream_bytes_received": "(each(x.tries, received) if x.tries else None)",
    "upstream_bytes_sent": "(each(x.tries, sent) if x.tries else None)",
    "upstream_cache_status": "(x.cache_status or None)",
    "upstream_connect_time": "(each(x.tries, connected) if x.tries else None)",
    "upstream_header_time": "(each(x.tries, headed) if x.tries else None)",
    "upstream_elsewhere": "elsewhere(x.tries)",
    "upstream_last_addr": "last_address(x.tries)",
    "upstream_response_length": "(each(x.tries, length) if x.tries else None)",
    "upstream_response_time": "(each(x.tries, responded) if x.tries else None)",
    "upstream_status": "(each(x.tries, status) if x.tries else None)",
}

PREFIXES: dict[str, Callable[[str], str]] = {
    "upstream_cookie_": lambda rest: f"set_cookie(x.upstream_pairs, {rest!r})",
    "upstream_http_": lambda rest: f"field(x.upstream_pairs, {rest.replace('_', '-')!r})",
    "upstream_trailer_": lambda rest: f"field(x.upstream_trailers, {rest.replace('_', '-')!r})",
}

# --- attempts ---------------------------------------------------------------------------------------------------------------


def each(tries: list[Attempt], show: Callable[[Attempt], str]) -> str:
    """Return one value for each attempt."""
    if len(tries) == 1:
        return show(tries[0])
    text = ""
    separator = ""
    for attempt in tries:
        if attempt.address:
            text += separator + show(attempt)
            separator = ", "
        else:
            separator = " : "
    return text + (separator if separator == " : " else "")


def each_address(tries: list[Attempt]) -> str:
    return tries[0].address if len(tries) == 1 else each(tries, lambda attempt: attempt.address)


def last_address(tries: list[Attempt]) -> str | None:
    """Return the address of the last server chosen, without its port, so that `geo` can look it up."""
    if not tries:
        return None
    address = tries[-1].address
    return address if address.startswith("unix:") else address.rpartition(":")[0].strip("[]") or address


def elsewhere(tries: list[Attempt]) -> str | None:
    """Return $upstream_elsewhere, which nginx has not: "1" if the last server chosen is on another machine, else "0".

    It is the usual argument of `tunnel_allow_upstream`.
    """
    address = last_address(tries)
    return None if address is None else str(int(is_elsewhere(address)))


def status(attempt: Attempt) -> str:
    return str(attempt.status) if attempt.status else "-"


def _time(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def connected(attempt: Attempt) -> str:
    return _time(attempt.connect_time)


def headed(attempt: Attempt) -> str:
    return _time(attempt.header_time)


def responded(attempt: Attempt) -> str:
    return _time(attempt.response_time)


def received(attempt: Attempt) -> str:
    return str(attempt.bytes_received)


def sent(attempt: Attempt) -> str:
    return str(attempt.bytes_sent)


def length(attempt: Attempt) -> str:
    return str(attempt.response_length)


def set_cookie(pairs: Pairs, name: str) -> str | None:
    """Return the value of the first cookie of this name that the upstream set."""
    for key, value in pairs:
        if key.lower() == "set-cookie" and value[: len(name)].lower() == name and value[len(name) :].lstrip(" ")[:1] == "=":
            return find_cookie(value, name)
    return None


def forwarded_for(exchange: Exchange) -> str:
    """Return the client's X-Forwarded-For with the client's address appended."""
    given: str | None = exchange.environ.get("HTTP_X_FORWARDED_FOR")
    address = exchange.remote_addr or "unix:"
    return f"{given}, {address}" if given else address
