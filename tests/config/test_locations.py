"""The walk over a configuration's locations."""

from __future__ import annotations

from wsgi_proxy.config import Config, If, Location, ServerBlock, locations_of


def test_every_location_is_found() -> None:
    inner = Location(pattern="inner")
    nested = Location(pattern="/a", locations=(Location(pattern="/a/b", script=(If(lambda x: True, (), inner),)),))
    server = ServerBlock(
        settings=Location(pattern="settings", script=(If(lambda x: True, (), Location(pattern="of the server's if")),)),
        locations=(nested, Location(pattern="/c")),
        script=(If(lambda x: True, (), Location(pattern="of the server's script")),),
        named={"@d": Location(pattern="@d")},
    )
    found = [location.pattern for location in locations_of(Config(servers=(server, ServerBlock())))]
    assert found == ["settings", "of the server's if", "of the server's script", "/a", "/a/b", "inner", "/c", "@d", "/"]
