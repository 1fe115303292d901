"""The variable of `keyval`: the value of the zone for its key, at each use."""

from __future__ import annotations

from typing import Any

from tests.support.limits import PrivateMemory
from wsgi_proxy.config import KeyvalZone
from wsgi_proxy.keyval import Keyval, Zone


def test_the_value_of_the_key() -> None:
    key = ["k"]
    source: Any = lambda exchange: key[0]  # noqa: E731
    variable = Keyval(source, "z")
    nothing: Any = None
    assert variable(nothing) == ""
    variable.table = zone = Zone(KeyvalZone("z", 8192), PrivateMemory())
    zone.put((b"k", b"v\xe9", None), (b"\xe9", b"latin", None))
    assert variable(nothing) == "v\xe9"
    key[0] = "\xe9"
    assert variable(nothing) == "latin"
    key[0] = "none"
    assert variable(nothing) == ""
    assert variable.volatile
