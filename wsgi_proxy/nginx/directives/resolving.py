"""The check of upstream servers' names by the resolver. It is separate from reading because it needs the network."""

from __future__ import annotations

from ...config import Config, Server
from ...errors import Fault
from ...upstream import Resolver, parse


def unresolved_servers(config: Config) -> list[Fault]:
    """Return a fault, in nginx's words, for each unknown name. Servers with `resolve` may become known later."""
    known: dict[str, bool] = {}
    faults = []
    for upstream in config.upstreams.values():
        for server in upstream.servers:
            host = parse(server.address).host
            if server.resolve:
                continue
            if host not in known:
                known[host] = _is_known(server)
            if not known[host]:
                # nginx leaves out the port of a server made for a `proxy_pass`.
                name = host if server.address == upstream.name else server.address
                faults.append(Fault(f'host not found in upstream "{name}"', server.place.file, server.place.line or None))
    return faults


def _is_known(server: Server) -> bool:
    try:
        Resolver().addresses(parse(server.address))
    except (OSError, UnicodeError):
        return False
    return True
