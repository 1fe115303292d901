"""The compiled cache settings of a location."""

import pytest

from tests.support.caching import Constant, exchange, location
from wsgi_proxy.cache.plan import CachePlan, affected, is_set, key_template, target_uri, withheld
from wsgi_proxy.config import Location, ProxyPass, ProxySettings


def test_nginxs_test_of_a_condition():
    x = exchange()
    for values, expected in (((), False), (("",), False), (("0",), False), (("", "0", "1"), True), (("no",), True)):
        assert is_set(tuple(Constant(value) for value in values), x) is expected


def test_what_is_not_said_is_the_rfcs():
    plan = CachePlan(location())
    assert (plan.zone_name, plan.zone_of, plan.updating, plan.validate, plan.rules.valid) == ("z", None, False, True, ())


def test_what_is_said_is_nginxs():
    def by_host(x):
        return x.environ["HTTP_HOST"]

    plan = CachePlan(location(frozenset({"vary"}), zone=by_host, use_stale=frozenset({"updating", "error"}), revalidate=False))
    assert (plan.zone_name, plan.zone_of) == ("", by_host)
    assert plan.updating and not plan.validate and plan.rules.ignored == {"vary"}


@pytest.mark.parametrize(
    ("target", "host", "expected"),
    [
        ("/a?b", "H.Test:81", "http://h.test:81/a?b"),
        ("/A", "h", "http://h/A"),
        ("HTTP://Other:80/x?Y", "h", "http://other:80/x?Y"),
        ("//a/b", "h", "http://h//a/b"),
    ],
)
def test_the_target_uri(target, host, expected):
    assert target_uri(exchange(target, host=host)) == expected


def test_the_default_key_tells_apart_where_requests_are_passed():
    x = exchange("/a")
    one, two = (
        key_template(each.cache, each)(x)
        for each in (Location(proxy=ProxySettings(pass_=ProxyPass(url))) for url in ("http://one", "http://two"))
    )
    assert one != two and one.startswith("http://h.test/a")


def test_the_default_key_holds_the_values_of_variables():
    template = lambda x: f"http://unix:/run/{x.header('X-App')}.sock"  # noqa: E731
    place = Location(proxy=ProxySettings(pass_=ProxyPass("http://unix:/run/$http_x_app.sock", template=template)))
    one, two = (exchange("/a", headers=[("X-App", name)]) for name in ("one", "two"))
    plan = CachePlan(place)
    assert plan.key(one) == "http://h.test/a http://unix:/run/one.sock"
    assert plan.key(two) == "http://h.test/a http://unix:/run/two.sock"
    assert plan.keys(two) == (plan.key(two),)


def test_a_key_of_ones_own_is_taken_as_it_is():
    place = location(key=Constant("k"))
    assert key_template(place.cache, place)(exchange("/a")) == "k"


@pytest.mark.parametrize(
    ("response", "targets"),
    [
        ([], ["/x/y"]),
        ([("Location", "z?q=1#f")], ["/x/y", "/x/z?q=1"]),
        ([("Location", "../z"), ("content-location", "http://h.test/w")], ["/x/y", "/z", "/w"]),
        ([("Location", "https://h.test/z")], ["/x/y"]),
        ([("Location", "http://h.test:8080/z")], ["/x/y"]),
        ([("Location", "http://h.test:x/z")], ["/x/y"]),
        ([("Location", "http://h.test")], ["/x/y", "/"]),
        ([("Location", "/%zz")], ["/x/y"]),
        ([("Location", "/x/y")], ["/x/y"]),
    ],
)
def test_what_an_unsafe_request_voids(response, targets):
    assert [each.target for each in affected(exchange("/x/y", "POST"), response)] == targets


def test_a_forward_proxys_targets_have_the_hosts_they_name():
    x = exchange("https://o.test/x", "POST")
    assert [target_uri(each) for each in affected(x, [("Location", "/z")])] == ["https://o.test/x", "https://o.test/z"]


def test_methods_that_are_cached_besides_get_have_keys_of_their_own():
    place = location(methods=frozenset({"GET", "HEAD", "POST"}))
    key = key_template(place.cache, place)
    assert key(exchange("/a")) == key(exchange("/a", "HEAD")) != key(exchange("/a", "POST"))


@pytest.mark.parametrize(
    ("connection", "taken"),
    [
        ("close", False),
        ("X-Tenant", True),
        ("close, x-tenant", True),
        ("X-Other", False),
        ("TE, upgrade", False),
        ("Cookie", False),
    ],
)
def test_a_field_that_connection_takes_away(connection, taken):
    fields = [("X-Tenant", "1"), ("Cookie", "a=b"), ("TE", "trailers"), ("Connection", connection)]
    assert withheld(exchange(headers=fields)) is taken
