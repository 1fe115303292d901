"""`proxy_cache_path` and `proxy_cache_*`; their faults are in nginx_faults.py."""

from __future__ import annotations

from tests.support.directive import faults, http, location, said

ZONE = "proxy_cache_path /c keys_zone=z:1m;"


def test_a_store() -> None:
    text = "proxy_cache_path c levels=1:2 keys_zone=z:2m inactive=3m max_size=4g min_free=5m use_temp_path=off manager_files=7;"
    zone = http(text).cache_zones["z"]
    assert (zone.path, zone.levels, zone.size, zone.inactive) == ("/srv/x/c", (1, 2), 2 << 20, 180.0)
    assert (zone.max_size, zone.min_free, zone.use_temp_path) == (4 << 30, 5 << 20, False)


def test_other_stores() -> None:
    for path in ("memory", "redis://h:6379/0", "rediss://h/1"):
        assert http(f"proxy_cache_path {path} keys_zone=z:1m;").cache_zones["z"].path == path


def test_a_place_that_caches() -> None:
    text = (
        "proxy_cache z; proxy_cache_key $host; proxy_cache_bypass $arg_a $arg_b; proxy_no_cache 1; proxy_cache_purge $arg_p; "
        "proxy_cache_methods POST; proxy_cache_min_uses 2; proxy_cache_use_stale error updating; "
        "proxy_cache_background_update on; proxy_cache_revalidate on; proxy_cache_lock on; "
        "proxy_cache_lock_timeout 1s; proxy_cache_lock_age 2s; "
        "proxy_cache_convert_head off; proxy_cache_max_range_offset 3k;"
    )
    cache = location(text, ZONE).cache
    assert said(cache.zone) == "z" and cache.key is not None
    assert (len(cache.bypass), len(cache.no_cache), len(cache.purge)) == (2, 1, 1)
    assert (cache.methods, cache.min_uses, cache.use_stale) == ({"GET", "HEAD", "POST"}, 2, {"error", "updating"})
    assert (cache.background_update, cache.revalidate, cache.lock, cache.convert_head) == (True, True, True, False)
    assert (cache.lock_timeout, cache.lock_age, cache.max_range_offset) == (1.0, 2.0, 3072)


def test_what_the_configuration_does_not_say_is_none() -> None:
    cache = location("", ZONE).cache
    assert (cache.zone, cache.key, cache.use_stale, cache.revalidate, cache.lock, cache.valid) == (None,) * 5 + ((),)
    assert location("proxy_cache off;", ZONE + "proxy_cache z;").cache.zone is None


def test_how_long() -> None:
    cache = location("proxy_cache_valid 1m; proxy_cache_valid 404 500 2s; proxy_cache_valid any 3;").cache
    assert cache.valid == ((frozenset({200, 301, 302}), 60.0), (frozenset({404, 500}), 2.0), (None, 3.0))


def test_a_zone_with_variables_is_found_by_the_request() -> None:
    assert location("proxy_cache $host;").cache.zone is not None
    assert faults("proxy_cache nothing;") == ['zero size shared memory zone "nothing"']
