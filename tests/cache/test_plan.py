"""A location's settings, made ready."""

from tests.support.caching import Constant, exchange, location
from wsgi_proxy.cache.plan import CachePlan, is_set


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
