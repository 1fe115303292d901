"""Where a forward proxy may go for a client: never to itself, unless the configuration says so.

Rules:
- Only destinations that the client names are judged: CONNECT, and a `proxy_pass` whose host is made of the request's. What the
  configuration names, it may name.
- The address is judged that is about to be connected to, not the name: whatever DNS says the next time changes nothing.
- Where `tunnel_allow_upstream` is said, it decides alone (ngx_http_tunnel_module): every condition must be neither empty nor
  "0", and $upstream_last_addr is the address in question. Where it is not, no client gets to loopback, link-local, multicast
  and unspecified addresses, nor to an address of this machine.
- An `https` target that came over plain HTTP is for a forward proxy, which fetches it by TLS (forwarding.py). A reverse server
  refuses it (RFC 9110, section 7.4): its answer would be kept, and logged, as one that came by TLS.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING

from ..errors import ClientError, Refusal
from ..logs import errorlog

if TYPE_CHECKING:
    from ..config import GuardSettings
    from ..exchange import Exchange

_CLIENTS_HOST = re.compile(r"\$\{?(http_|host\b|arg_|cookie_|request_uri\b|uri\b|document_uri\b|args\b|[0-9])")
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
_DISCARD_PORT = 9


def is_clients(url: str) -> bool:
    """Whether the host in the text of a `proxy_pass` or `tunnel_pass` is the client's choice.

    >>> is_clients("http://$http_host$request_uri"), is_clients("http://$backend$request_uri")
    (True, False)
    """
    _, _, rest = url.rpartition("://")
    authority, slash, _ = rest.partition("/")
    if not slash:
        # The path's variable is glued to the host's: http://$backend$request_uri names a path, not a host.
        authority = re.sub(r"\$\{?(request_uri|uri|document_uri|is_args|args)\}?.*", "", authority) or authority
    return _CLIENTS_HOST.search(authority) is not None


def check_scheme(exchange: Exchange) -> None:
    """ClientError (421) for an https target in absolute form that came over plain HTTP to a location that is no forward proxy.

    A gateway that `set_real_ip_from` trusts may say in X-Forwarded-Proto that its client came by TLS.
    """
    if exchange.absolute != "https" or exchange.scheme == "https":
        return
    if exchange.trusted_peer and exchange.header("X-Forwarded-Proto").lower() == "https":
        return
    target = exchange.location.proxy.pass_
    forwards = exchange.location.handler == "proxy_pass" and target is not None and target.template is not None
    if not (forwards and target is not None and is_clients(target.url)):
        raise ClientError("client sent an https target over plain HTTP", status=421)


def check(exchange: Exchange, settings: GuardSettings, address: tuple[str, int] | str) -> None:
    """Refusal (403) when the client may not be taken to `address` ((host, port) or a unix socket's path).

    The attempt is already in `x.tries`, so that conditions can ask for $upstream_last_addr.
    """
    conditions = settings.tunnel_allow_upstream
    if conditions is not None:
        good = all(condition(exchange) not in ("", "0") for condition in conditions)
    else:
        good = not isinstance(address, str) and is_elsewhere(address[0])
    if not good:
        shown = address if isinstance(address, str) else f"{address[0]}:{address[1]}"
        errorlog.line("error", f"access to {shown} forbidden by rule", exchange)
        raise Refusal(status=403)


def is_elsewhere(address: str) -> bool:
    """Whether an address is on another machine: not loopback, link-local, multicast, unspecified, nor one of our own."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    for form in _forms(ip):
        if form.is_loopback or form.is_link_local or form.is_multicast or form.is_unspecified or _is_this_network(form):
            return False
    return not _is_ours(ip)


def _forms(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The address, and the IPv4 address that it carries where it is one of the transition forms (RFC 4291, 6052, 3056)."""
    forms = [ip]
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and (ip in _TRANSLATED or int(ip) >> 32 == 0):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            forms.append(inner)
    return forms


def _is_this_network(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """0.0.0.0/8 reaches this host on some systems (RFC 6890); the limited broadcast reaches everyone."""
    return isinstance(ip, ipaddress.IPv4Address) and (int(ip) >> 24 == 0 or int(ip) == 0xFFFFFFFF)


def _is_ours(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether it is an address of this machine: the kernel then speaks to it from itself. Nothing is sent."""
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(ip), _DISCARD_PORT))
            return ipaddress.ip_address(probe.getsockname()[0].partition("%")[0]) == ip
    except OSError:
        # No way there at all: connecting will say so.
        return False
