"""RFC 9111: the reuse of stored responses."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cache.rfc9111.support import ETAG, NOW, cc
from wsgi_proxy.cache import rfc9111 as fr

SIXTY = fr.Freshness(born=NOW, lifetime=60.0)


def asked(value):
    return fr.wishes([("cache-control", value)])


@pytest.mark.parametrize(
    ("request_directives", "age", "decision"),
    [
        ("", 59, fr.FRESH),
        ("", 60, fr.EXPIRED),
        ("max-age=0", 0.1, fr.EXPIRED),
        ("max-age=999999", 61, fr.EXPIRED),
        ("max-age=10", 10, fr.FRESH),
        ("max-age=x", 10, fr.EXPIRED),
        ("min-fresh=30", 31, fr.EXPIRED),
        ("min-fresh=30", 29, fr.FRESH),
        ("max-stale", 6000, fr.STALE),
        ("max-stale=10", 69, fr.STALE),
        ("max-stale=10", 71, fr.EXPIRED),
        ("no-cache", 1, fr.EXPIRED),
        ("no-store", 1, fr.FRESH),
    ],
)
def test_what_a_request_asks_for(request_directives, age, decision):
    assert fr.reusable(SIXTY, asked(request_directives), NOW + age) == decision


def test_pragma_counts_only_without_cache_control():
    assert fr.wishes([("Pragma", "no-cache")]).no_cache
    assert not fr.wishes([("Pragma", "no-cache"), ("Cache-Control", "max-age=5")]).no_cache
    assert fr.wishes([]) is fr.NO_WISHES


def test_prohibitions_are_stronger_than_grace():
    graceful = cc("max-age=60, stale-while-revalidate=30, stale-if-error=40", ETAG).freshness
    assert fr.reusable(graceful, fr.NO_WISHES, NOW + 80) == fr.UPDATING
    assert fr.reusable(graceful, fr.NO_WISHES, NOW + 91) == fr.EXPIRED
    assert fr.usable_on_error(graceful, fr.NO_WISHES, NOW + 95)
    assert not fr.usable_on_error(graceful, fr.NO_WISHES, NOW + 101)
    for ban in ("must-revalidate", "proxy-revalidate", "s-maxage=60"):
        strict = cc(f"max-age=60, stale-while-revalidate=30, stale-if-error=40, {ban}", ETAG).freshness
        assert fr.reusable(strict, asked("max-stale"), NOW + 61, updating=True) == fr.EXPIRED
        assert not fr.usable_on_error(strict, fr.NO_WISHES, NOW + 61, allowed=True)


def test_the_configuration_may_allow_stale():
    assert fr.reusable(SIXTY, fr.NO_WISHES, NOW + 9999, updating=True) == fr.UPDATING
    assert fr.usable_on_error(SIXTY, fr.NO_WISHES, NOW + 9999, allowed=True)
    assert not fr.usable_on_error(SIXTY, fr.NO_WISHES, NOW + 61)
    assert fr.usable_on_error(SIXTY, asked("stale-if-error=5"), NOW + 61)


# --- invalidation --------------- --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "status", "void"),
    [
        ("POST", 200, True),
        ("PUT", 204, True),
        ("DELETE", 302, True),
        ("M-SEARCH", 200, True),
        ("POST", 404, False),
        ("PUT", 500, False),
        ("GET", 200, False),
        ("OPTIONS", 200, False),
    ],
)
def test_what_invalidates(method, status, void):
    assert fr.invalidates(method, status) is void


# --- properties -------------------------------------------------------------------------------------------------------------

seconds = st.integers(0, 10**6)
moments = st.floats(0, 10**6)


@settings(deadline=None)
@given(seconds, moments, moments)
def test_time_only_makes_older(lifetime, first, second):
    stored = fr.Freshness(born=NOW, lifetime=float(lifetime))
    early, late = sorted((first, second))
    assert stored.age(NOW + early) <= stored.age(NOW + late)
    if fr.reusable(stored, fr.NO_WISHES, NOW + late) == fr.FRESH:
        assert fr.reusable(stored, fr.NO_WISHES, NOW + early) == fr.FRESH


request_directive = st.sampled_from(
    ["max-age=0", "max-age=50", "max-age=999999999", "min-fresh=5", "no-cache", "no-store", "max-age=abc", "foo"]
)


@settings(deadline=None)
@given(st.lists(request_directive), seconds)
def test_no_request_but_one_with_max_stale_makes_a_stale_answer_usable(wanted, beyond):
    assert fr.reusable(SIXTY, asked(", ".join(wanted)), NOW + 60 + beyond) == fr.EXPIRED
