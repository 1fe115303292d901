"""The cache: responses sent from the storage, and requests sent to the origin."""

import pytest

from tests.support.caching import FRESH, TAG, Body, Constant, Site, exchange, location
from wsgi_proxy.errors import ConnectFailed, ProxyError, TruncatedResponse
from wsgi_proxy.response import Response


def test_a_miss_and_then_hits(site):
    first = site.get("/a")
    assert (first.word, first.body) == ("MISS", b"one")
    assert "fwd=uri-miss" in first["Cache-Status"] and "stored" in first["Cache-Status"]
    site.now += 7
    second = site.get("/a")
    assert (second.word, second.body, second["Age"]) == ("HIT", b"one", "7")
    assert second["Cache-Status"] == "wsgi-proxy; hit; ttl=53"
    assert second["Content-Length"] == "3"
    assert site.fetches == 1


def test_another_process_and_a_restart_find_the_same(site, tmp_path):
    site.get("/a")
    later = Site(tmp_path / "cache")
    later.responses((500, [], b"not asked"))
    assert later.get("/a").body == b"one"


def test_expired_entries_are_fetched_again(site):
    site.get("/a")
    site.now += 60
    again = site.get("/a")
    assert (again.word, again.body) == ("EXPIRED", b"two")
    assert site.get("/a").body == b"two"


def test_keys_hold_scheme_host_target_and_query(site):
    bodies = {site.get("/a").body, site.get("/a?x").body, site.get("/a", host="other").body}
    assert len(bodies) == 3


def test_head_is_answered_from_what_get_stored(site):
    site.get("/a")
    head = site.get("/a", "HEAD")
    assert (head.word, head.body, head["Content-Length"]) == ("HIT", b"", "3")


# --- responses that are not stored ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        [("Cache-Control", "no-store")],
        [("Cache-Control", "Private, max-age=60")],
        [("Cache-Control", "s-maxage=0, max-age=60")],
        [("Set-Cookie", "a=b"), *FRESH],
        [("Vary", "*"), *FRESH],
        [("Cache-Control", "max-age=60"), ("Age", "60")],
        [],
    ],
)
def test_answers_that_are_for_one_client_or_not_fresh(site, headers, tmp_path):
    site.responses((200, headers, b"one"), (200, headers, b"two"))
    assert site.get("/a").body == b"one"
    assert site.get("/a").body == b"two"
    assert site.fetches == 2
    assert not list((tmp_path / "cache").glob("[0-9a-f]*"))


def test_an_answer_to_an_authorized_request_reaches_nobody_else(site):
    assert site.get("/a", headers=[("Authorization", "x")]).body == b"one"
    assert site.get("/a").body == b"two"


def test_a_storable_answer_may_serve_authorized_requests(site):
    site.get("/a")
    assert site.get("/a", headers=[("Authorization", "x")]).word == "HIT"


@pytest.mark.parametrize("error", [TruncatedResponse("cut"), None])
def test_a_body_that_ends_early_is_not_stored(site, error):
    cut = Body([b"on"], error)
    site.responses((200, [*FRESH, ("Content-Length", "3")], cut), (200, FRESH, b"two"))
    x = exchange("/a")
    response = site.ask(x)
    response.length = 3
    if error is not None:
        with pytest.raises(TruncatedResponse):
            list(response.body)
    response.close()
    assert cut.closed == 1
    assert site.get("/a").body == b"two"


def test_a_client_that_leaves_stores_nothing_of_unknown_length(site):
    site.responses((200, FRESH, Body([b"a", b"b", b"c"])), (200, FRESH, b"two"))
    response = site.ask(exchange("/a"))
    assert next(iter(response.body)) == b"a"
    response.close()
    assert site.get("/a").body == b"two"


def test_a_body_read_in_pieces_is_stored_as_it_is(site):
    blocks = [b"\r\n", b"a" * 70000, b"\r\n", b"x"]
    site.responses((200, FRESH, Body(blocks)))
    site.get("/a")
    hit = site.get("/a")
    assert hit.word == "HIT" and hit.body == b"".join(blocks)


# --- Vary -------------------------------------------------------------------------------------------------------------------


def test_variants_live_side_by_side(site):
    vary = [*FRESH, ("Vary", "Accept-Language, X-Thing")]
    site.responses(*((200, vary, body) for body in (b"de", b"en", b"none", b"other")))
    de, en, none = [("Accept-Language", "de")], [("Accept-Language", "en")], []
    assert [site.get("/", headers=each).body for each in (de, en, none)] == [b"de", b"en", b"none"]
    assert [site.get("/", headers=each).body for each in (en, none, de, en)] == [b"en", b"none", b"de", b"en"]
    assert site.get("/", headers=[*de, ("X-Thing", "1")]).body == b"other"
    assert site.fetches == 4


def test_values_that_mean_the_same_share_a_variant(site):
    site.responses((200, [*FRESH, ("Vary", "Accept-Encoding")], b"one"), (200, [], b"two"))
    site.get("/", headers=[("Accept-Encoding", "gzip, br")])
    assert site.get("/", headers=[("Accept-Encoding", "BR"), ("Accept-Encoding", "gzip")]).word == "HIT"
    assert site.get("/", headers=[("Accept-Encoding", "")]).word == "MISS"


def test_a_new_way_to_vary_is_added_to_the_old(site):
    site.responses(
        (200, [*FRESH, ("Vary", "A")], b"one"),
        (200, [*FRESH, ("Vary", "B")], b"two"),
        (200, FRESH, b"three"),
    )
    site.get("/", headers=[("A", "1")])
    site.now += 1
    site.get("/", headers=[("A", "2"), ("B", "2")])
    assert site.get("/", headers=[("A", "1")]).body == b"one"
    assert site.get("/", headers=[("A", "9"), ("B", "2")]).body == b"two"
    assert site.get("/", headers=[("A", "9")]).body == b"three"
    assert site.get("/", headers=[("A", "1")]).body == b"three"


def test_invalidation_takes_all_variants_for_good(site):
    vary = [*FRESH, ("Vary", "A")]
    site.responses((200, vary, b"one"), (200, vary, b"two"), (200, [], b""), (200, vary, b"three"), (200, vary, b"four"))
    site.get("/", headers=[("A", "1")])
    site.get("/", headers=[("A", "2")])
    site.get("/", "POST")
    assert site.get("/", headers=[("A", "1")]).body == b"three"
    assert site.get("/", headers=[("A", "2")]).body == b"four"


# --- validation -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status", "body"),
    [
        ([("If-None-Match", '"a"')], 304, b""),
        ([("If-None-Match", '"x", W/"a"')], 304, b""),
        ([("If-None-Match", "*")], 304, b""),
        ([("If-None-Match", '"x"')], 200, b"0123456789"),
        ([("If-Modified-Since", "Tue, 14 Nov 2023 22:13:20 GMT")], 304, b""),
        ([("If-Modified-Since", "Tue, 14 Nov 2023 22:13:19 GMT")], 200, b"0123456789"),
        ([("If-None-Match", '"x"'), ("If-Modified-Since", "Tue, 14 Nov 2023 22:13:20 GMT")], 200, b"0123456789"),
        ([("Range", "bytes=2-4")], 206, b"234"),
        ([("Range", "bytes=-3")], 206, b"789"),
        ([("Range", "bytes=8-")], 206, b"89"),
        ([("Range", "bytes=10-")], 416, b""),
        ([("Range", "bytes=0-1,3-4")], 200, b"0123456789"),
        ([("Range", "bytes=2-4"), ("If-Range", '"a"')], 206, b"234"),
        ([("Range", "bytes=2-4"), ("If-Range", '"x"')], 200, b"0123456789"),
        ([("Range", "bytes=2-4"), ("If-None-Match", '"a"')], 304, b""),
    ],
)
def test_conditions_are_answered_from_the_store(site, headers, status, body):
    site.responses((200, TAG, b"0123456789"))
    site.get("/")
    got = site.get("/", headers=headers)
    assert (got.word, got.status, got.body) == ("HIT", status, body)
    assert got["ETag"] == '"a"'
    if status == 206:
        assert got["Content-Length"] == str(len(body)) and got["Content-Range"].endswith("/10")


def test_ranges_of_a_large_body_come_from_its_file(site):
    body = bytes(range(256)) * 1024
    site.responses((200, TAG, body))
    site.get("/")
    got = site.get("/", headers=[("Range", "bytes=100000-100099")])
    assert (got.status, got.body) == (206, body[100000:100100])
    assert (got.response.body, got["Content-Range"]) == ((), f"bytes 100000-100099/{len(body)}")


def test_conditions_with_nothing_stored_are_the_origins_to_answer_where_nothing_may_be_stored(site):
    site.responses((304, TAG, b""))
    got = site.get("/", headers=[("If-None-Match", '"a"'), ("Cache-Control", "no-store")])
    assert got.status == 304
    assert site.origin.seen[0][2]["if-none-match"] == '"a"'


def test_if_match_that_fails_here_is_the_origins_to_answer(site):
    site.responses((200, TAG, b"one"), (412, [], b""))
    site.get("/")
    assert site.get("/", headers=[("If-Match", '"a"')]).word == "HIT"
    assert site.get("/", headers=[("If-Match", '"b"')]).status == 412
    assert site.origin.seen[-1][2]["if-match"] == '"b"'


def test_a_206_is_passed_on_and_not_stored(site):
    site.responses((206, [*FRESH, ("Content-Range", "bytes 0-2/9")], b"abc"), (200, FRESH, b"abcdefghi"))
    assert site.get("/", headers=[("Range", "bytes=0-2")]).status == 206
    assert site.get("/").body == b"abcdefghi"


# --- what requests ask for --------------------------------------------------------------------------------------------------


def test_only_if_cached(site):
    missing = site.get("/", headers=[("Cache-Control", "only-if-cached")])
    assert missing.status == 504 and site.fetches == 0
    site.get("/")
    assert site.get("/", headers=[("Cache-Control", "only-if-cached")]).word == "HIT"


def test_no_cache_asks_the_origin_and_stores_the_news(site):
    site.get("/")
    assert site.get("/", headers=[("Cache-Control", "no-cache")]).body == b"two"
    assert site.get("/").body == b"two"


def test_no_store_stores_nothing(site):
    site.get("/", headers=[("Cache-Control", "no-store")])
    assert site.get("/").body == b"two"


def test_a_clients_max_age_does_not_make_a_stale_answer_fresh(site):
    site.get("/")
    site.now += 61
    assert site.get("/", headers=[("Cache-Control", "max-age=999999")]).body == b"two"


# --- HEAD and unsafe methods ------------------------------------------------------------------------------------------------


def test_convert_head_fetches_the_body_for_the_store(site):
    site.location = location(convert_head=True)
    head = site.get("/", "HEAD")
    assert (head.body, head["Content-Length"], site.origin.seen[0][0]) == (b"", "3", "GET")
    assert site.get("/").body == b"one" and site.fetches == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"])
@pytest.mark.parametrize("status", [200, 204, 302])
def test_an_unsafe_request_that_succeeds_voids_its_target(site, method, status):
    site.responses((200, FRESH, b"one"), (status, [], b""), (200, FRESH, b"two"))
    site.get("/a")
    site.get("/a", method)
    assert site.get("/a").body == b"two"


@pytest.mark.parametrize("status", [400, 404, 500])
def test_one_that_fails_voids_nothing(site, status):
    site.responses((200, FRESH, b"one"), (status, [], b""))
    site.get("/a")
    site.get("/a", "POST")
    assert site.get("/a").word == "HIT"


@pytest.mark.parametrize("field", ["Location", "Content-Location"])
@pytest.mark.parametrize(
    ("value", "gone"),
    [("/a", True), ("http://h.test/a", True), ("http://h.test:80/a", True), ("http://x.test/a", False), ("http://[", False)],
)
def test_the_targets_an_answer_names_are_voided_too_on_the_same_host(site, field, value, gone):
    site.responses((200, FRESH, b"one"), (201, [(field, value)], b""), (200, FRESH, b"two"))
    site.get("/a")
    site.get("/b/c", "POST")
    assert site.get("/a").body == (b"two" if gone else b"one")


def test_a_fetch_under_way_cannot_put_back_what_was_invalidated(site):
    site.responses((200, FRESH, b"old"), (200, [], b""), (200, FRESH, b"new"))
    under_way = site.ask(exchange("/a"))
    site.get("/a", "POST")
    assert b"".join(under_way.body) == b"old"
    under_way.close()
    assert site.get("/a").body == b"new"


def test_an_invalidation_holds_in_every_process_at_once(site, tmp_path):
    other = Site(tmp_path / "cache")
    other.responses((200, [], b""))
    site.get("/a")
    assert site.get("/a").word == "HIT"
    other.get("/a", "DELETE")
    assert site.get("/a").body == b"two"


# --- stale ------------------------------------------------------------------------------------------------------------------


def test_stale_if_error(site):
    kept = [("Cache-Control", "max-age=60, stale-if-error=30")]
    site.responses((200, kept, b"one"), (503, [], b"no"), ConnectFailed("down"), ConnectFailed("down"))
    site.get("/")
    site.now += 70
    for _ in range(2):
        got = site.get("/")
        assert (got.word, got.status, got.body) == ("STALE", 200, b"one")
        assert got["Warning"] is None
    site.now += 30
    with pytest.raises(ConnectFailed):
        site.get("/")


def test_use_stale_names_what_it_covers(site):
    site.location = location(use_stale=frozenset({"error", "http_500"}))
    site.responses((200, FRESH, b"one"), (500, [], b""), ConnectFailed("down"), (502, [], b"502"))
    site.get("/")
    site.now += 99999
    assert [site.get("/").body for _ in range(3)] == [b"one", b"one", b"502"]


def test_must_revalidate_is_stronger_than_use_stale(site):
    site.location = location(use_stale=frozenset({"error"}))
    site.responses((200, [("Cache-Control", "max-age=60, must-revalidate")], b"one"), ConnectFailed("down"))
    site.get("/")
    site.now += 61
    with pytest.raises(ConnectFailed):
        site.get("/")


def test_stale_while_revalidate_updates_behind_the_request(tmp_path):
    site = Site(tmp_path, background=True)
    site.responses((200, [("Cache-Control", "max-age=60, stale-while-revalidate=30")], b"one"), (200, FRESH, b"two"))
    site.get("/")
    site.now += 70
    assert [(got.word, got.body) for got in (site.get("/"), site.get("/"))] == [("STALE", b"one"), ("UPDATING", b"one")]
    site.run_spawned()
    assert site.fetches == 2
    assert (site.get("/").word, site.get("/").body) == ("HIT", b"two")


def test_a_configuration_without_background_updates_lets_the_first_request_wait(tmp_path):
    """`proxy_cache_background_update off` overrides the origin's stale-while-revalidate, which alone allows them."""
    site = Site(tmp_path, background=True)
    site.location = location(background_update=False)
    site.responses((200, [("Cache-Control", "max-age=60, stale-while-revalidate=30")], b"one"), (200, FRESH, b"two"))
    site.get("/")
    site.now += 70
    assert site.get("/").body == b"two"
    assert site.fetches == 2


def test_a_background_update_that_fails_leaves_the_stale_answer(tmp_path):
    site = Site(tmp_path, background=True)
    site.responses((200, [("Cache-Control", "max-age=60, stale-while-revalidate=30")], b"one"), ConnectFailed("down"))
    site.get("/")
    site.now += 70
    for _ in range(2):
        assert site.get("/").word == "STALE"
        site.run_spawned()


# --- nginx's directives -----------------------------------------------------------------------------------------------------


def test_bypass_and_no_cache(site):
    def wanted(x):
        return x.environ.get("HTTP_X_BYPASS", "")

    site.location = location(bypass=(wanted,), no_cache=(Constant("0"),))
    site.get("/")
    assert site.get("/", headers=[("X-Bypass", "0")]).word == "HIT"
    got = site.get("/", headers=[("X-Bypass", "1")])
    assert (got.word, got.body) == ("BYPASS", b"two")
    assert site.get("/").body == b"two"
    site.location = location(no_cache=(Constant("1"),))
    site.get("/new")
    assert site.get("/new").word == "MISS"


def test_a_key_of_ones_own(site):
    site.location = location(key=lambda x: x.target.partition("?")[0])
    site.get("/a?1")
    assert site.get("/a?2").word == "HIT"


def test_min_uses(site):
    site.location = location(min_uses=3)
    assert [site.get("/a").word for _ in range(4)] == ["MISS", "MISS", "MISS", "HIT"]


def test_purge_by_key_and_by_prefix(site):
    site.responses((200, FRESH, b"one"))
    for target in ("/a", "/b/1", "/b/2"):
        site.get(target)
    site.location = location(purge=(Constant("1"),))
    assert site.get("/a").status == 204
    assert site.get("/a").status == 404
    site.location = location(purge=(Constant("1"),), key=lambda x: "http://h.test/b/*")
    assert site.get("/b/*").status == 204
    site.location = location()
    assert [site.get(target).word for target in ("/b/1", "/b/2")] == ["MISS", "MISS"]


def test_valid_and_ignored_headers(site):
    site.responses((200, [("Set-Cookie", "a"), ("Cache-Control", "private")], b"one"))
    site.location = location(frozenset({"set-cookie", "cache-control"}), valid=((frozenset({200}), 10.0),))
    site.get("/")
    assert site.get("/").word == "HIT"
    site.now += 10
    assert site.get("/").word == "EXPIRED"


@pytest.mark.parametrize(
    ("fields", "delay"),
    [
        ([], 5),
        ([("Age", "100")], 0),
        ([("Date", "Tue, 14 Nov 2023 22:11:20 GMT")], 0),
        ([("Age", "100"), ("Date", "Tue, 14 Nov 2023 22:11:20 GMT")], 5),
        ([("Age", "100"), ("Expires", "0"), ("Cache-Control", "no-store")], 0),
    ],
)
def test_valid_counts_from_the_moment_of_storing(site, fields, delay):
    """A slow origin, an age and a clock that is two minutes behind do not shorten it (ngx_http_upstream_send_response)."""
    made = site._maker(200, fields, b"one")

    def slowly(method):
        site.now += delay
        return made(method)

    site.origin.responses = [slowly]
    site.location = location(frozenset({"cache-control", "expires"}), valid=((frozenset({200}), 2.0),))
    assert site.get("/").word == "MISS"
    site.now += 1.9
    hit = site.get("/")
    assert hit.word == "HIT" and hit["Cache-Status"] == "wsgi-proxy; hit; ttl=0"
    # Age is still the age of the response (RFC 9111, section 5.1).
    assert int(hit["Age"]) >= (100 if fields else 1)
    site.now += 0.2
    assert site.get("/").word == "EXPIRED"


@pytest.mark.parametrize("asked", [("Cache-Control", "no-cache"), ("Cache-Control", "max-age=0"), ("Pragma", "no-cache")])
def test_with_valid_a_client_does_not_pass_the_cache_by(site, asked):
    site.location = location(valid=((frozenset({200}), 9.0),))
    site.get("/")
    site.now += 1
    assert site.get("/", headers=[asked]).word == "HIT"
    # Further directives of a request are still respected.
    assert site.get("/new", headers=[("Cache-Control", "no-store")]).word == "MISS"
    assert site.get("/new").word == "MISS"
    assert site.get("/none", headers=[("Cache-Control", "only-if-cached, no-cache")]).status == 504


def test_caching_off(site):
    for zone in (None, Constant("off"), Constant("")):
        site.location = location(zone=zone)
        assert site.cache.lookup(exchange("/"), site.plan) is None


def test_a_get_with_a_body_is_nobody_elses(site):
    x = exchange("/")
    x.content_length = 5
    assert site.cache.lookup(x, site.plan) is None
    x.content_length, x.chunked = None, True
    assert site.cache.lookup(x, site.plan) is None


def test_explain_hears_why(site):
    site.responses((200, [("Cache-Control", "private")], b"one"), (200, FRESH, b"two"))
    told = []
    for _ in range(3):
        x = exchange("/")
        x.trace = []
        response = site.ask(x)
        list(response.body)
        response.close()
        told.append("; ".join(sentence for _, sentence in x.trace))
    assert "nothing is stored" in told[0] and "not stored: private" in told[0]
    assert "fresh for 60 s" in told[1] and "HIT" in told[2]


def test_an_answer_is_never_both_shared_and_changed(site):
    """A field added to one client's response does not appear in another's."""
    site.get("/")
    one = site.ask(exchange("/"))
    one.headers.append(("X-Mine", "1"))
    assert site.get("/")["X-Mine"] is None
    assert isinstance(one, Response)


def test_a_zone_that_does_not_exist_is_an_error(tmp_path):
    """As in nginx, for a name that variables make; "" and `off` mean no cache."""
    site = Site(tmp_path)
    site.location = location(zone=lambda x: x.target.partition("?")[2])
    site.responses((200, FRESH, b"one"))
    assert [site.get("/?off").word, site.get("/?").word] == ["", ""]
    with pytest.raises(ProxyError, match='cache "x" not found'):
        site.get("/?x")
