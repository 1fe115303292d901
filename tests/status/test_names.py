"""Names of server blocks and locations."""

from __future__ import annotations

from wsgi_proxy.config import Listen, Location, ServerBlock
from wsgi_proxy.status.names import location_name, server_names


def test_names() -> None:
    blocks = [
        ServerBlock(names=("a.test", "b.test"), listens=(Listen(port=443),)),
        ServerBlock(names=("a.test",), listens=(Listen(port=80),)),
        ServerBlock(names=("a.test",), listens=(Listen(host="10.0.0.1", port=80),)),
        ServerBlock(listens=(Listen(unix="/run/x"),)),
    ]
    assert list(server_names(blocks).values()) == ["a.test:443", "a.test:80", "a.test:80 (2)", "_ unix:/run/x"]
    assert [location_name(Location(kind=kind, pattern=pattern)) for kind, pattern in [("", "/a"), ("~", "x$"), ("@", "@f")]] == [
        "/a",
        "~ x$",
        "@f",
    ]
    assert location_name(Location(kind="server")) == "(server)"
