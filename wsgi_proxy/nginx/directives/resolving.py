"""Which upstream servers have names that nobody knows now: a step of its own, because it asks the network."""

from __future__ import annotations

from ...config import Config, Server
from ...errors import Fault
from ...upstream import Resolver, parse


def unresolved_servers(config: Config) -> list[Fault]:
    """A fault for each server whose name is not known, in nginx's words; servers with `resolve` may appear later."""
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
                # For a server made for a `proxy_pass`, nginx leaves out the port.
                name = host if server.address == upstream.name else server.address
                faults.append(Fault(f'host not found in upstream "{name}"', server.place.file, server.place.line or None))
    return faults


def _is_known(server: Server) -> bool:
    try:
        Resolver().addresses(parse(server.address))
    except (OSError, UnicodeError):
        return False
    return True
