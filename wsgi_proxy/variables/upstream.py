"""nginx's variables of upstreams, forwarding and TLS, in the forms of `variables/request`.

Rules:
- A variable has one value for each attempt, with `, ` between attempts and ` : ` where an internal redirect led to another group:
  an attempt without an address (`Attempt("")`) marks the redirect, as an empty state does in nginx.
- A missing time is "-". Sizes are bytes.
Source: nginx's documentation of ngx_http_upstream_module, ngx_http_proxy_module and ngx_http_ssl_module, "Embedded Variables".
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..access import is_elsewhere, tls_of, verdict
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
    "proxy_port": "(x.proxy_port or None)",
    "ssl_cipher": "tls(x, cipher)",
    "ssl_early_data": "None",
    "ssl_client_cert": "tls(x, client_cert)",
    "ssl_client_escaped_cert": "tls(x, client_escaped_cert)",
    "ssl_client_fingerprint": "tls(x, client_fingerprint)",
    "ssl_client_i_dn": "tls(x, client_issuer)",
    "ssl_client_raw_cert": "tls(x, client_raw_cert)",
    "ssl_client_s_dn": "tls(x, client_subject)",
    "ssl_client_serial": "tls(x, client_serial)",
    "ssl_client_v_end": "tls(x, client_end)",
    "ssl_client_v_start": "tls(x, client_start)",
    "ssl_client_verify": "tls(x, client_verify)",
    "ssl_protocol": "tls(x, version)",
    "ssl_server_name": "tls(x, sni)",
    "ssl_session_reused": "tls(x, session_reused)",
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
    """Return the value of the last cookie of this name that the upstream set."""
    found = None
    for key, value in pairs:
        if key.lower() == "set-cookie" and value[: len(name)].lower() == name:
            found = find_cookie(value, name) if value[len(name) :].lstrip(" ")[:1] == "=" else found
    return found


def forwarded_for(exchange: Exchange) -> str:
    """Return the client's X-Forwarded-For with the client's address appended."""
    given: str | None = exchange.environ.get("HTTP_X_FORWARDED_FOR")
    address = exchange.remote_addr or "unix:"
    return f"{given}, {address}" if given else address


# --- TLS --------------------------------------------------------------------------------------------------------------------


def tls(exchange: Exchange, show: Callable[[Exchange, Any], str | None]) -> str | None:
    """Return the value of `show` for the client's TLS connection, None without TLS or if the server does not hand it over."""
    if exchange.scheme != "https":
        return None
    sock = tls_of(exchange)
    return None if sock is None else show(exchange, sock)


def version(exchange: Exchange, sock: Any) -> str | None:
    found: str | None = sock.version()
    return found


def cipher(exchange: Exchange, sock: Any) -> str | None:
    found = sock.cipher()
    return found[0] if found else None


def session_reused(exchange: Exchange, sock: Any) -> str:
    return "r" if sock.session_reused else "."


def sni(exchange: Exchange, sock: Any) -> str | None:
    """Return the name that the client asked for (SNI), as the worker recorded it. The ssl module does not keep it."""
    found: str | None = getattr(exchange.connection, "sni", None) or getattr(sock, "sni", None)
    return found


def client_verify(exchange: Exchange, sock: Any) -> str:
    """Return NONE, SUCCESS or FAILED:reason."""
    return verdict(sock)


def _der(sock: Any) -> bytes | None:
    found: bytes | None = sock.getpeercert(True)
    return found


def client_raw_cert(exchange: Exchange, sock: Any) -> str | None:
    """Return the client's certificate in PEM."""
    der = _der(sock)
    return ssl.DER_cert_to_PEM_cert(der) if der else None


def client_cert(exchange: Exchange, sock: Any) -> str | None:
    """Return the certificate for a field: a tab before each line but the first, as nginx did when fields could be folded."""
    text = client_raw_cert(exchange, sock)
    return text.rstrip("\n").replace("\n", "\n\t") if text else None


def client_escaped_cert(exchange: Exchange, sock: Any) -> str | None:
    from urllib.parse import quote

    text = client_raw_cert(exchange, sock)
    return quote(text, safe="") if text else None


def client_fingerprint(exchange: Exchange, sock: Any) -> str | None:
    """Return the SHA-1 of the certificate, in hexadecimal."""
    import hashlib

    der = _der(sock)
    return hashlib.sha1(der, usedforsecurity=False).hexdigest() if der else None


_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "emailAddress": "emailAddress",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "street",
    "userId": "UID",
}
_SPECIAL = frozenset(',+"\\<>;')


def _name(parts: Any) -> str:
    """Return a distinguished name in the form of RFC 2253, last part first."""
    shown = []
    for part in reversed(parts):
        one = []
        for key, value in part:
            text = "".join("\\" + c if c in _SPECIAL else c for c in value)
            if text[:1] in ("#", " "):
                text = "\\" + text
            if text[-1:] == " " and len(text) > 1:
                text = text[:-1] + "\\ "
            one.append(f"{_SHORT.get(key, key)}={text}")
        shown.append("+".join(one))
    return ",".join(shown)


def _peer(sock: Any, key: str) -> Any:
    return (sock.getpeercert() or {}).get(key)


def client_subject(exchange: Exchange, sock: Any) -> str | None:
    found = _peer(sock, "subject")
    return _name(found) if found else None


def client_issuer(exchange: Exchange, sock: Any) -> str | None:
    found = _peer(sock, "issuer")
    return _name(found) if found else None


def client_serial(exchange: Exchange, sock: Any) -> str | None:
    found: str | None = _peer(sock, "serialNumber")
    return found


def client_start(exchange: Exchange, sock: Any) -> str | None:
    found: str | None = _peer(sock, "notBefore")
    return found


def client_end(exchange: Exchange, sock: Any) -> str | None:
    found: str | None = _peer(sock, "notAfter")
    return found
