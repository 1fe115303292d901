"""The destinations of a forward proxy: never this machine, unless the configuration allows it.

Rules:
- Only destinations that the client names are checked: CONNECT, and a `proxy_pass` whose host comes from the request. Destinations
  in the configuration are trusted. A port or a path that comes from the request does not matter, and `$host` is the
  configuration's if a `server_name` of the server block is that name or a domain that contains it. So are the addresses of an
  upstream block that the client chose by its name.
- The check is on the address of the connection about to be opened, not on the name, so a later DNS answer cannot evade it.
- `tunnel_allow_upstream` decides alone where it is set (ngx_http_tunnel_module). Each condition must be neither empty nor "0",
  and $upstream_last_addr is the address in question. Without it, loopback, link-local, multicast and unspecified addresses and
  all addresses of this machine are refused.
- A client on this machine may name the port that it is connected to, on any loopback address, if `proxy_pass` sends it to a
  constant URI that is not the request's: it gains nothing by the detour, and the detour is no loop. A request with a field of an
  intermediary (`Via`, `X-Forwarded-For`, …) counts as another machine's.
- An `https` target over plain HTTP is meant for a forward proxy, which fetches it by TLS (`proxy/targets.py`). A reverse proxy
  refuses it (RFC 9110, section 7.4), because its response would be logged and cached as a response over TLS.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Container
from typing import TYPE_CHECKING

from ..config import FORWARDING
from ..errors import ClientError, Refusal
from ..logs import errorlog

if TYPE_CHECKING:
    from ..config import GuardSettings
    from ..exchange import Exchange

_CLIENTS = re.compile(r"(http_|arg_|cookie_)\w*|host|request_uri|uri|document_uri|args|query_string|[0-9]")
"""The variables that a client chooses, besides the named groups of regular expressions."""
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$([0-9])|\$(\w+)")
_PORT = re.compile(r":([0-9]+|\$\w+|\$\{\w+\})+\Z")
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
_DISCARD_PORT = 9


def client_names(url: str, captures: Container[str] = ()) -> frozenset[str]:
    """Return the names of the variables by which the client chooses the host in a `proxy_pass`; empty if it does not.

    `captures` are the names of groups in regular expressions, in lower case.

    >>> client_names("http://$http_host$request_uri"), client_names("http://$backend$request_uri"), client_names("http://10.0.0.1:$1")
    (frozenset({'http_host'}), frozenset(), frozenset())
    """
    _, _, rest = url.rpartition("://")
    authority, slash, _ = rest.partition("/")
    if not slash:
        # In http://$backend$request_uri the second variable is the path, although no slash separates it from the host.
        authority = re.sub(r"\$\{?(request_uri|uri|document_uri|is_args|args)\}?.*", "", authority) or authority
    host = authority if authority.startswith("unix:") else _PORT.sub("", authority)
    names = {"".join(found).lower() for found in _VARIABLE.findall(host)}
    return frozenset(name for name in names if _CLIENTS.fullmatch(name) or name in captures)


def is_configured(exchange: Exchange, names: frozenset[str]) -> bool:
    """Return True if these variables only say `$host`, and the server block has a name for that host or a domain around it.

    A server block that answers for any host (a default server, a regular expression, `name.*`) does not limit the client.
    """
    return names <= {"host", "http_host"} and any(_covers(name, exchange.host) for name in exchange.server.names)


def _covers(name: str, host: str) -> bool:
    """Return True if a `server_name` is the host or `*.domain` around it."""
    if not name or name.startswith("~") or name.endswith(".*"):
        return False
    if name.startswith("."):
        return host == name[1:] or host.endswith(name)
    return host.endswith(name[1:]) if name.startswith("*.") else host == name


def check_scheme(exchange: Exchange) -> None:
    """Raise ClientError (421) for an absolute https target over plain HTTP, unless the location is a forward proxy.

    A gateway that `set_real_ip_from` trusts may declare in X-Forwarded-Proto that its client uses TLS.
    """
    if exchange.absolute != "https" or exchange.scheme == "https":
        return
    if exchange.trusted_peer and exchange.header("X-Forwarded-Proto").lower() == "https":
        return
    target = exchange.location.proxy.pass_
    if exchange.location.handler not in FORWARDING or target is None or not target.client_names:
        raise ClientError("client sent an https target over plain HTTP", status=421)


def check(exchange: Exchange, settings: GuardSettings, address: tuple[str, int] | str) -> None:
    """Raise Refusal (403) if the client may not reach `address`, a (host, port) or the path of a unix socket.

    The attempt is already in `exchange.tries`, so conditions can use $upstream_last_addr.
    """
    conditions = settings.tunnel_allow_upstream
    if conditions is not None:
        good = all(condition(exchange) not in ("", "0") for condition in conditions)
    else:
        good = not isinstance(address, str) and (is_elsewhere(address[0]) or _is_same_port(exchange, address))
    if not good:
        shown = address if isinstance(address, str) else f"{address[0]}:{address[1]}"
        errorlog.line("error", f'access to {shown} forbidden by rule: "tunnel_allow_upstream" does not allow it', exchange)
        refusal = Refusal(status=403)
        refusal.error_type = "destination_ip_prohibited"
        raise refusal


_INTERMEDIARIES = ("HTTP_VIA", "HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_X_FORWARDED_HOST")


def _is_same_port(exchange: Exchange, address: tuple[str, int]) -> bool:
    """Return True for a loopback address with the port that a client on a loopback address has connected to itself.

    An IPv6 link-local address without a zone is left to the system, which connects to none (RFC 4007, section 6).
    """
    name = getattr(exchange.connection, "server_addr", None)
    if not isinstance(name, tuple) or name[1] != address[1] or exchange.proxy_protocol is not None:
        return False
    pass_ = exchange.location.proxy.pass_
    path = "" if pass_ is None else pass_.url.partition("://")[2].partition("/")[2]
    if not path or "$" in path or exchange.uri == f"/{path}":
        return False
    if exchange.remote_addr != exchange.peer_addr or any(key in exchange.environ for key in _INTERMEDIARIES):
        return False
    return _is_loopback(name[0]) and _is_loopback(exchange.peer_addr) and (_is_loopback(address[0]) or _is_zoneless(address[0]))


def _is_zoneless(address: str) -> bool:
    try:
        return ipaddress.IPv6Address(address).is_link_local and "%" not in address
    except ValueError:
        return False


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def is_elsewhere(address: str) -> bool:
    """Return True for an address of another machine: not loopback, link-local, multicast, unspecified or local."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    for form in _forms(ip):
        if form.is_loopback or form.is_link_local or form.is_multicast or form.is_unspecified or _is_this_network(form):
            return False
    return not _is_local(ip)


def _forms(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Return the address, and the IPv4 address that a transition form contains.

    RFC 4291, section 2.5.5; RFC 6052, section 2.1; RFC 3056, section 2.
    """
    forms = [ip]
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and (ip in _TRANSLATED or int(ip) >> 32 == 0):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            forms.append(inner)
    return forms


def _is_this_network(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return True for 0.0.0.0/8, which reaches this host on some systems (RFC 6890), and for the limited broadcast."""
    return isinstance(ip, ipaddress.IPv4Address) and (int(ip) >> 24 == 0 or int(ip) == 0xFFFFFFFF)


def _is_local(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return True for an address of this machine: the kernel then chooses it as the source too. Sends nothing."""
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(ip), _DISCARD_PORT))
            return ipaddress.ip_address(probe.getsockname()[0].partition("%")[0]) == ip
    except OSError:
        # No route: the connection attempt will report it.
        return False
