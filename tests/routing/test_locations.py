"""locations: look-up by bisection gives the result of a walk over all locations."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.routing import environ
from wsgi_proxy.config import GuardSettings, Location, Return
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.routing.locations import LocationTable
from wsgi_proxy.variables.patterns import compile_regex


def prefix(pattern: str, kind: str = "", *inner: Location, handler: str = "") -> Location:
    return Location(kind=kind, pattern=pattern, locations=inner, handler=handler)


def regex(pattern: str, *inner: Location) -> Location:
    return Location(kind="~", pattern=pattern, regex=compile_regex(pattern), locations=inner)


def found(uri: str, *locations: Location) -> str | None:
    node, _ = LocationTable(locations).find(uri, Exchange.from_environ(environ("GET", "/", [], 80)))
    return node.location.pattern if node else None


PATHS = st.text(alphabet="/ab.", max_size=6)


@given(st.sets(PATHS, max_size=12), PATHS)
def test_the_longest_prefix(prefixes: set[str], uri: str) -> None:
    wanted = max((one for one in prefixes if uri.startswith(one)), key=len, default=None)
    assert found(uri, *(prefix(one) for one in prefixes)) == wanted


def test_many_locations() -> None:
    locations = [prefix(f"/app{number}/") for number in range(2000)] + [prefix("/"), prefix("/app1")]
    table = LocationTable(locations)
    x = Exchange.from_environ(environ("GET", "/", [], 80))
    for uri, wanted in (("/app777/x", "/app777/"), ("/app1999/", "/app1999/"), ("/app1x", "/app1"), ("/zzz", "/")):
        node = table.find(uri, x)[0]
        assert node is not None and node.location.pattern == wanted


def test_exact_goes_before_prefix_and_pattern() -> None:
    locations = [prefix("/a", "="), prefix("/a"), regex("^/a")]
    assert found("/a", *locations) == "/a"
    assert found("/ab", *locations) == "^/a"


def test_patterns_in_order_unless_the_prefix_forbids_them() -> None:
    assert found("/a.b", prefix("/"), regex("b$"), regex("^/a")) == "b$"
    assert found("/a.b", prefix("/", "^~"), regex("b$")) == "/"
    assert found("/x", prefix("/"), regex("b$")) == "/"
    assert found("/x", regex("b$")) is None


def test_nested_patterns_are_asked_before_the_outer_ones() -> None:
    nested = prefix("/a", "", regex("b$"), prefix("/a/c"))
    assert found("/a/b", nested, regex("/b")) == "b$"
    assert found("/a/c", nested, regex("c")) == "c"
    assert found("/a/c", nested) == "/a/c"
    assert found("/a/x", prefix("/a", "^~", regex("b$")), regex("x")) == "/a"
    assert found("/a/b", regex("^/a", regex("c$"), regex("b$"))) == "b$"


def test_a_pattern_leaves_its_captures() -> None:
    x = Exchange.from_environ(environ("GET", "/", [], 80))
    LocationTable([regex("^/(?<one>.)(.)")]).find("/ab", x)
    assert (x.captures, x.variables) == (("/ab", "a", "b"), {"one": "a"})


def test_a_forwarding_folder_without_its_slash_is_redirected() -> None:
    table = LocationTable([prefix("/d/", handler="proxy_pass"), prefix("/s/"), prefix("/")])
    x = Exchange.from_environ(environ("GET", "/", [], 80))
    for uri, wanted in (("/d", True), ("/s", False), ("/d/", False)):
        node = table.find(uri, x)[0]
        assert node is not None and node.slash is wanted
    node = LocationTable([prefix("/d/", handler="proxy_pass"), prefix("/d")]).find("/d", x)[0]
    assert node is not None and not node.slash
    node = LocationTable([prefix("/d/", handler="proxy_pass"), prefix("/d", "=")]).find("/d", x)[0]
    assert node is not None and not node.slash


def test_what_needs_no_work_is_known() -> None:
    assert LocationTable([prefix("/")]).only is not None
    assert LocationTable([prefix("/"), prefix("/a", "=")]).only is None
    assert LocationTable([prefix("/", "", prefix("/a"))]).only is None
    assert LocationTable([prefix("/a")]).only is None
    internal = Location(pattern="/c", guard=GuardSettings(internal=True))
    several = [prefix("/a"), Location(pattern="/b", script=(Return(200),)), internal]
    nodes = [
        LocationTable(several).find(uri, Exchange.from_environ(environ("GET", "/", [], 80)))[0] for uri in ("/a", "/b", "/c")
    ]
    assert [node is not None and node.plain for node in nodes] == [True, False, False]
