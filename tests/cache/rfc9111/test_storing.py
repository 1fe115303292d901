"""RFC 9111: the responses that a shared cache stores, and the time for which they are fresh."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cache.rfc9111.support import DATE, ETAG, NOW, cc, expires, judge
from wsgi_proxy.cache import rfc9111 as fr
from wsgi_proxy.cache.rfc9111.storing import HEURISTIC_CAP
from wsgi_proxy.http.dates import format_date

# --- storing ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", [200, 201, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 451, 499, 500, 502, 503, 504, 599]
)
def test_any_final_status_is_stored_with_explicit_freshness(status):
    assert cc("max-age=60", status=status).store
    assert judge(expires(60), status=status).store


@pytest.mark.parametrize("status", [206, 304, 412, 416, 101])
def test_statuses_that_are_never_stored(status):
    assert cc("max-age=60", status=status).reason == "status"


@pytest.mark.parametrize(
    ("directives", "reason"),
    [
        ("no-store, max-age=60", "no-store"),
        ("No-Store, max-age=60", "no-store"),
        ("private, max-age=60", "private"),
        ("private, s-maxage=60", "private"),
        ("s-maxage=0, max-age=60", "no-validator"),
        ("max-age=0", "no-validator"),
        ("no-cache, max-age=60", "no-validator"),
        ("", "no-validator"),
    ],
)
def test_what_a_shared_cache_must_not_keep(directives, reason):
    verdict = cc(directives)
    assert not verdict.store and verdict.reason == reason


def test_only_safe_storable_methods():
    assert cc("max-age=60", method="POST").reason == "method"
    assert cc("max-age=60", method="HEAD").reason == "method"
    assert cc("max-age=60", method="POST", methods=frozenset({"GET", "POST"})).store


def test_a_request_may_forbid_storing():
    assert cc("max-age=60", request=[("Cache-Control", "no-store")]).reason == "request-no-store"


@pytest.mark.parametrize(
    ("directives", "store"),
    [
        ("max-age=60", False),
        ("public, max-age=60", True),
        ("s-maxage=60", True),
        ("must-revalidate, max-age=60", True),
        ("proxy-revalidate, max-age=60", False),
    ],
)
def test_answers_to_authorized_requests_need_permission(directives, store):
    assert cc(directives, request=[("authorization", "Basic eA==")]).store is store


def test_set_cookie_is_not_stored_unless_the_configuration_or_the_origin_says_so():
    cookie = ("Set-Cookie", "a=b")
    assert cc("max-age=60", cookie).reason == "set-cookie"
    assert cookie in cc("max-age=60", cookie, ignored=frozenset({"set-cookie"})).headers
    stripped = cc('max-age=60, no-cache="Set-Cookie"', cookie)
    assert stripped.store and cookie not in stripped.headers


def test_must_understand():
    assert cc("no-store, must-understand, max-age=60").store
    assert cc("must-understand, max-age=60", status=599).reason == "must-understand"


@pytest.mark.parametrize("vary", ["*", "Foo, *", "*, Foo", " * "])
def test_vary_star_is_not_stored(vary):
    assert cc("max-age=60", ("Vary", vary)).reason == "vary-star"


def test_heuristics_need_a_date_of_change_and_a_known_status():
    changed = ("Last-Modified", format_date(int(NOW - 36000)))
    assert judge(changed).freshness.lifetime == 3600
    assert judge(changed, status=404).freshness.lifetime == 3600
    assert judge(changed, status=201).reason == "no-freshness"
    assert cc("public", changed, status=201).freshness.lifetime == 3600
    assert judge(("Last-Modified", format_date(0))).freshness.lifetime == HEURISTIC_CAP
    assert judge(ETAG).freshness.lifetime == 0
    assert judge(("Last-Modified", format_date(int(NOW + 60)))).freshness.lifetime == 0


def test_stale_answers_are_stored_only_to_be_validated_or_to_stand_in():
    assert cc("max-age=0", ETAG).store
    assert cc("no-cache", ETAG).freshness.no_cache
    assert cc("max-age=0, stale-while-revalidate=9").store
    assert not cc("max-age=0, stale-while-revalidate=9, must-revalidate").store


def test_fields_of_one_connection_are_not_stored():
    verdict = cc(
        "max-age=60",
        ("Connection", "close, X-Hop"),
        ("Connection", "y-hop"),
        ("x-hop", "1"),
        ("Y-Hop", "1"),
        ("Keep-Alive", "1"),
        ("Proxy-Authenticate", "Basic"),
        ("Upgrade", "h2c"),
        ("X-Kept", "1"),
        ("X-Kept", "2"),
    )
    assert [pair for pair in verdict.headers if pair not in (DATE, ("Cache-Control", "max-age=60"))] == [
        ("X-Kept", "1"),
        ("X-Kept", "2"),
    ]


def test_a_date_is_added_where_the_origin_sent_none_or_nonsense():
    for extra in ([], [("Date", "foo")]):
        headers = judge(("Cache-Control", "max-age=60"), *extra, dated=False).headers
        assert [value for name, value in headers if name == "Date"] == [DATE[1]]


# --- lifetime and age -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "lifetime"),
    [
        ([("Cache-Control", "s-maxage=7, max-age=60"), expires(9)], 7),
        ([("Cache-Control", "max-age=60"), expires(9)], 60),
        ([expires(9)], 9),
        ([expires(-9), ETAG], -9),
        ([("Expires", "0"), ETAG], 0),
        ([expires(9), ("Expires", "0"), ETAG], 0),
        ([expires(900), expires(9)], 9),
        ([("Cache-Control", "max-age=1, max-age=60")], 1),
        ([("Cache-Control", "max-age=x"), expires(60), ETAG], 0),
        ([("Cache-Control", "s-maxage=x, max-age=60"), ETAG], 0),
        ([("CDN-Cache-Control", "max-age=5"), ("Cache-Control", "no-store, max-age=60"), expires(9)], 5),
        ([("CDN-Cache-Control", "MAX-AGE=5"), ("Cache-Control", "max-age=60")], 60),
        ([("CDN-Cache-Control", ""), ("Cache-Control", "max-age=60")], 60),
        ([("CDN-Cache-Control", "foo"), ("Cache-Control", "max-age=60"), expires(9), ETAG], 0),
        ([("X-Accel-Expires", "5"), ("Cache-Control", "no-store")], 5),
        ([("X-Accel-Expires", f"@{int(NOW) + 8}"), ("Cache-Control", "max-age=60")], 8),
        ([("X-Accel-Expires", "off"), ("Cache-Control", "max-age=60")], 60),
        ([("X-Accel-Expires", "@0"), ("Cache-Control", "max-age=60")], 60),
    ],
)
def test_the_first_source_of_a_lifetime_wins(response, lifetime):
    assert judge(*response).freshness.lifetime == lifetime


def test_a_targeted_no_store_wins_over_a_permissive_cache_control():
    assert judge(("CDN-Cache-Control", "no-store"), ("Cache-Control", "max-age=60")).reason == "no-store"


def test_x_accel_expires_zero_is_nginx_for_no():
    assert not judge(("X-Accel-Expires", "0"), ("Cache-Control", "max-age=60")).store
    assert not judge(("X-Accel-Expires", "@0")).store
    assert not judge(("X-Accel-Expires", "@0"), ("Cache-Control", "no-store")).store


def test_x_accel_expires_leaves_the_extensions_for_stale_responses():
    """As in nginx, for any order of the two fields."""
    fields = (("X-Accel-Expires", "5"), ("Cache-Control", "no-store, stale-while-revalidate=9, stale-if-error=8"))
    for numbers in (judge(*fields).freshness, judge(*fields[::-1]).freshness):
        assert (numbers.lifetime, numbers.grace, numbers.error_grace) == (5, 9, 8)


def test_expires_counts_from_the_origins_clock():
    dated = ("Date", format_date(int(NOW - 1000)))
    numbers = judge(dated, ("Expires", format_date(int(NOW - 900))), ETAG, dated=False).freshness
    assert numbers.lifetime == 100 and numbers.age(NOW) == 1000


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        ("50", 50),
        ("50, 0", 50),
        ("0, 50", 0),
        ("abc", 0),
        ("-5", 0),
        ("5.5", 0),
        ("5;x=y", 0),
        ("", 0),
        (" 5 ", 5),
        ("99999999999999", 2**31),
    ],
)
def test_incoming_age(age, expected):
    assert cc("max-age=60", ("Age", age), ETAG).freshness.age(NOW) == expected


def test_the_wait_for_the_answer_counts_as_age():
    assert cc("max-age=60", ("Age", "5"), sent=NOW - 3).freshness.age(NOW + 2) == 10


def test_nginx_rules():
    valid = ((frozenset({200, 301}), 30.0), (frozenset({404}), 0.0), (None, 5.0))
    assert judge(valid=valid).freshness.lifetime == 30
    assert judge(valid=valid, status=500).freshness.lifetime == 5
    assert judge(valid=valid, status=404).reason == "no-freshness"
    assert cc("max-age=7", valid=valid).freshness.lifetime == 7
    assert cc("no-store", valid=valid).reason == "no-store"
    everything = frozenset({"cache-control", "expires", "x-accel-expires", "set-cookie", "vary"})
    ignoring = cc("private, no-store", ("Vary", "*"), ("Set-Cookie", "a"), valid=valid, ignored=everything)
    assert ignoring.store and ignoring.freshness.lifetime == 30


# --- reuse ------------------------------------------------------------------------------------------------------------------

seconds = st.integers(0, 10**6)
moments = st.floats(0, 10**6)


@settings(deadline=None)
@given(seconds, seconds, moments, st.floats(0, 100))
def test_age_is_never_below_what_upstream_reported(age, lifetime, later, wait):
    numbers = cc(f"max-age={lifetime}", ("Age", str(age)), ETAG, sent=NOW - wait).freshness
    assert numbers.age(NOW + later) >= age + later - 1e-3
    assert (fr.reusable(numbers, fr.NO_WISHES, NOW + later) == fr.FRESH) == (numbers.age(NOW + later) < lifetime)


directive = st.sampled_from(
    [
        "max-age=60",
        "s-maxage=60",
        "public",
        "private",
        "no-store",
        "no-cache",
        "must-revalidate",
        'private="a"',
        "max-age=0",
        "foo=bar",
    ]
)


@settings(deadline=None)
@given(st.lists(directive, min_size=1), st.sampled_from(["private", "no-store"]), st.data())
def test_one_prohibition_anywhere_is_enough(others, ban, data):
    at = data.draw(st.integers(0, len(others)))
    together = others[:at] + [ban.swapcase()] + others[at:]
    assert not cc(" , ".join(together), ETAG).store
    assert not judge(*(("cache-control", one) for one in together), ETAG).store
