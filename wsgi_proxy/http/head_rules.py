"""gunicorn's settings about request heads: trusted proxies, the scheme they name, underscores in field names, methods.

Rules:
- A listener has these rules only where gunicorn's own settings govern it; under the `wsgi-proxy` command nginx.conf does.
- `environ` is called only for a head with an underscore in a field's name, or with a scheme header from a trusted peer.
- Whatever gunicorn's parser refuses is a ClientError here, with gunicorn's status.

The meaning of each setting is documented at https://docs.gunicorn.org/en/stable/settings.html.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any

from ..errors import ClientError
from .syntax import TOKEN

if TYPE_CHECKING:
    from gunicorn.config import Config

    from .syntax import Pairs

_CONVENTIONAL = re.compile(r"[!$%&'*+.^_`|~0-9A-Z-]{3,20}")
"""A method that gunicorn takes without `permit_unconventional_http_method`: a token without lower-case letters and `#`."""
_MAX_PEERS = 1024


class HeadRules:
    """The rules of one configuration of gunicorn.

    `methods` is the pattern of the accepted methods; `folds` is True if they are converted to upper case. `scheme_keys` are the
    environ's keys for the fields of `secure_scheme_headers`.
    """

    def __init__(self, cfg: Config) -> None:
        self._trusts = _Peers(cfg.forwarded_allow_ips, cfg.forwarded_allow_networks())
        self._trusts_proxy_protocol = _Peers(cfg.proxy_allow_ips, cfg.proxy_allow_networks())
        self._schemes: dict[str, str] = dict(cfg.secure_scheme_headers)
        self.scheme_keys = tuple(f"HTTP_{name.replace('-', '_')}" for name in self._schemes)
        self._forwarders = frozenset(cfg.forwarder_headers)
        self._map: str = cfg.header_map
        self.methods: re.Pattern[str] = TOKEN if cfg.permit_unconventional_http_method else _CONVENTIONAL
        self.folds = bool(cfg.casefold_http_method)

    def trusts(self, peer: Any) -> bool:
        """Return True if `forwarded_allow_ips` covers a peer's address, (host, port) or of a unix socket."""
        return self._trusts(peer)

    def check_proxy_protocol(self, peer: Any) -> None:
        """Raise ClientError(403) if `proxy_allow_ips` does not cover the peer that sent a PROXY protocol header."""
        if not self._trusts_proxy_protocol(peer):
            raise ClientError("PROXY protocol from an address that proxy_allow_ips does not cover", status=403)

    def environ(self, pairs: Pairs, path: str, underscored: bool, trusted: bool) -> dict[str, str] | None:
        """Return the environ's additional keys, besides those of fields without an underscore; None if there are none.

        `underscored` is True if the name of a field has an underscore. `path` is the target's, not decoded. Raises ClientError:
        400 for a field that `header_map` refuses and for contradictory schemes, 500 for a SCRIPT_NAME that the path lacks.
        """
        found: dict[str, str] = {}
        if underscored:
            self._underscored(pairs, trusted, found)
            script = found.get("SCRIPT_NAME", "")
            if not path.startswith(script):
                raise ClientError(f"the path {path[:80]!r} does not begin with SCRIPT_NAME {script[:80]!r}", status=500)
        if trusted:
            scheme = self._scheme(pairs)
            if scheme:
                found["wsgi.url_scheme"] = scheme
        return found or None

    def keeps(self, name: str, trusted: bool) -> bool:
        """Return True if a field of this name, in capitals, reaches the application."""
        if "_" not in name or self._map == "dangerous":
            return True
        return trusted and (name in self._forwarders or "*" in self._forwarders)

    def _scheme(self, pairs: Pairs) -> str:
        scheme = ""
        for name, value in pairs:
            secure = self._schemes.get(name.upper())
            if secure is None:
                continue
            said = "https" if value == secure else "http"
            if scheme and said != scheme:
                raise ClientError("client sent contradictory scheme headers")
            scheme = said
        return scheme

    def _underscored(self, pairs: Pairs, trusted: bool, found: dict[str, str]) -> None:
        """Put the keys of fields with an underscore into `found`, joined with those that make the same key."""
        kept: Pairs = []
        wanted = set()
        for name, value in pairs:
            name = name.upper()
            if self.keeps(name, trusted):
                kept.append((name, value))
                if "_" in name:
                    wanted.add(environ_key(name))
                    if name == "SCRIPT_NAME":
                        found["SCRIPT_NAME"] = value
            elif self._map != "drop":
                raise ClientError(f"client sent a header name with an underscore: {name[:80]!r}")
        for name, value in kept:
            key = environ_key(name)
            if key in wanted:
                found[key] = f"{found[key]}, {value}" if key in found else value


class _Peers:
    """The addresses that a setting names; the results are remembered by host."""

    def __init__(self, names: list[str], networks: list[Any]) -> None:
        self._all = "*" in names
        self._networks = networks
        self._known: dict[str, bool] = {}

    def __call__(self, peer: Any) -> bool:
        if self._all or not isinstance(peer, tuple):
            # gunicorn trusts every client of a unix socket.
            return True
        host = peer[0]
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= _MAX_PEERS:
                self._known.clear()
            known = self._known[host] = self._covers(host)
        return known

    def _covers(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def environ_key(name: str) -> str:
    """Return the environ's key for a field whose name is in capitals."""
    key = name.replace("-", "_")
    return key if name in ("CONTENT-TYPE", "CONTENT-LENGTH") else f"HTTP_{key}"
