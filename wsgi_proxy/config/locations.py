"""The locations of a configuration, walked in one place.

Rules:
- The settings of a server outside its locations count as a location, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from .model import Config, Instruction, Location


def locations_of(config: Config) -> Iterator[Location]:
    """Yield every location: the servers' settings, their locations, named and nested ones, and those of `if` blocks."""
    for server in config.servers:
        yield from _below(server.settings)
        yield from _in_script(server.script)
        for location in (*server.locations, *server.named.values()):
            yield from _below(location)


def _below(location: Location) -> Iterator[Location]:
    yield location
    for nested in location.locations:
        yield from _below(nested)
    if location.excepted is not None:
        yield location.excepted
    yield from _in_script(location.script)


def _in_script(script: tuple[Instruction, ...]) -> Iterator[Location]:
    for instruction in script:
        inner: Location | None = getattr(instruction, "location", None)
        if inner is not None:
            yield from _below(inner)
