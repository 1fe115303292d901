"""The addresses of a configuration: the protocols that server blocks share, and the certificates that an address needs.

Rules (ngx_http_core_module, listen; ngx_http_ssl_module):
- `ssl`, `http2` and `proxy_protocol` belong to the address: one `listen` sets them for all server blocks that listen there.
- `ssl on` belongs to the server block. For a connection the default server of its address decides, because the client has not
  named a server yet.
- The default server of a TLS address needs a certificate. The other blocks use it if they have none of their own. If the default
  server rejects handshakes, every other block needs one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from ...config import Listen, ServerBlock
from .listen import default_listen
from .reading import Reading
from .row import Level

_Block = TypeVar("_Block")


def shared_listens(http: Level) -> Mapping[Level, tuple[Listen, ...]]:
    """Return the listeners of each server block of a configuration, with the protocols of their addresses."""
    written = {
        level: tuple(level.own.get("server.listens", ())) or (default_listen(),) for level in http.inner if level.kind == "server"
    }
    protocols: dict[Any, dict[str, bool]] = {}
    for address, blocks in _by_address(list(written.items()), lambda block: block[1]).items():
        (default, _), _ = blocks[0]
        found = [listen for _, listen in blocks]
        protocols[address] = {
            "ssl": any(listen.ssl for listen in found) or enabled(default),
            "http2": any(listen.http2 for listen in found),
            "proxy_protocol": any(listen.proxy_protocol for listen in found),
        }
    return {
        level: tuple(replace(listen, **protocols[listen.address]) for listen in listens) for level, listens in written.items()
    }


def enabled(level: Level) -> bool:
    """Return True if `ssl on` is in force in a server block."""
    outer = level.parent.own if level.parent is not None else {}
    found: bool = level.own.get("enable.ssl", outer.get("enable.ssl", False))
    return found


def check_certificates(reading: Reading, servers: Sequence[ServerBlock]) -> None:
    """Add a fault for each server block without a certificate that needs one, with the line of its `listen`."""
    for blocks in _by_address(servers, lambda server: server.listens).values():
        if not blocks[0][1].ssl:
            continue
        default = blocks[0][0].tls
        if default is not None and default.certificates:
            continue
        needing = blocks[1:] if default is not None and default.reject_handshake else blocks[:1]
        for server, listen in needing:
            if server.tls is None or not (server.tls.certificates or server.tls.reject_handshake):
                reading.fault('no "ssl_certificate" is defined for the "listen ... ssl" directive', listen.place)


def _by_address(
    blocks: Sequence[_Block], listens: Callable[[_Block], Sequence[Listen]]
) -> Mapping[Any, list[tuple[_Block, Listen]]]:
    """Return each address's blocks and their `listen`, the default server first."""
    found: dict[Any, list[tuple[_Block, Listen]]] = {}
    for block in blocks:
        for listen in listens(block):
            found.setdefault(listen.address, []).append((block, listen))
    return {address: sorted(each, key=lambda pair: not pair[1].default_server) for address, each in found.items()}
