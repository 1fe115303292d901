"""The names of server blocks and locations in the figures."""

from __future__ import annotations

from collections.abc import Iterable

from ..config import Location, ServerBlock


def server_names(servers: Iterable[ServerBlock]) -> dict[int, str]:
    """Return the name of each server block in the figures, by its `id`.

    It is the first name of the block, or `_`, with the port of its first `listen`; a number follows where blocks would have the
    same name.
    """
    found: dict[int, str] = {}
    seen: dict[str, int] = {}
    for server in servers:
        listen = server.listens[0] if server.listens else None
        name = server.names[0] if server.names and server.names[0] else "_"
        if listen is not None:
            name = f"{name} unix:{listen.unix}" if listen.unix else f"{name}:{listen.port}"
        seen[name] = seen.get(name, 0) + 1
        found[id(server)] = name if seen[name] == 1 else f"{name} ({seen[name]})"
    return found


def location_name(location: Location) -> str:
    """Return the name of a location in the figures, as the configuration writes it; `(server)` outside of all locations."""
    if location.kind == "server":
        return "(server)"
    return location.pattern if location.kind == "@" else f"{location.kind} {location.pattern}".strip()
