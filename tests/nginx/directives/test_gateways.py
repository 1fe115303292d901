"""`fastcgi_pass`, `uwsgi_pass`, `scgi_pass` and their settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from crossplane.analyzer import DIRECTIVES

from tests.support.directive import faults, http, location
from wsgi_proxy.config import Location
from wsgi_proxy.nginx.directives import SUBJECTS, TABLE
from wsgi_proxy.nginx.directives.gateways import MODULES
from wsgi_proxy.nginx.directives.reference import load

ENTRIES = {name: entry for (_, name), entry in load().items()}
REPEATED = [row for rows in SUBJECTS.values() for row in rows if row.like]
OUTSIDE = "proxy_cache_path memory keys_zone=pages:10m; proxy_cache_path memory keys_zone=slow:10m;"


@pytest.mark.parametrize("module", MODULES)
def test_every_setting_of_nginx_is_known(module: str) -> None:
    missing = [name for name in DIRECTIVES if name.startswith(f"{module}_") and name not in TABLE]
    # crossplane has it from a documentation that nginx does not follow.
    assert missing == (["memcached_force_ranges"] if module == "memcached" else [])


def settings_of(where: Location, directive: str) -> Any:
    """Return the group of settings that a directive of `proxy_*` belongs to, without the prefix of the module."""
    if directive.startswith(("proxy_cache", "proxy_no_cache")):
        return replace(where.cache, convert_head=None)
    if directive.startswith("proxy_ssl"):
        return replace(where.proxy.tls, places=())
    return replace(where.proxy, pass_=None, gateway=None, redirect=None)


@pytest.mark.parametrize("row", REPEATED, ids=lambda row: row.name)
def test_a_setting_has_the_effect_of_the_one_of_proxy(row: Any) -> None:
    if row.like == "proxy_cache_path":
        module = row.name.partition("_")[0]
        text = f"{row.name} memory keys_zone=own:1m; server {{ location / {{ {module}_pass a:1; {module}_cache own; }} }}"
        assert "own" in http(text).cache_zones
        return
    module = row.name.partition("_")[0]
    example = ENTRIES[row.like].example
    beside = "proxy_buffers 8 16k;" if row.like == "proxy_busy_buffers_size" else ""
    # A `get` of memcached has neither fields nor a body, and its values have ranges.
    nothing = "proxy_pass_request_headers off; proxy_pass_request_body off; proxy_force_ranges on;"
    alike = nothing if module == "memcached" else ""
    theirs = location(f"proxy_pass http://127.0.0.1:1; {alike} {beside} {example}", OUTSIDE)
    text = f"{beside} {example}".replace("proxy_", f"{module}_").replace("/wsgi-proxy/", "/wsgi-proxy/")
    ours = location(f"{module}_pass 127.0.0.1:1; {text}", OUTSIDE)
    assert shown(settings_of(ours, row.like)) == shown(settings_of(theirs, row.like))
    assert shown(settings_of(location(f"{module}_pass 127.0.0.1:1; {beside}", OUTSIDE), row.like)) != shown(
        settings_of(ours, row.like)
    ) or row.like in ("proxy_pass_request_body", "proxy_pass_request_headers")


def shown(settings: Any) -> str:
    """Return settings as text, with the text of templates."""

    def text(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(text, value))
        return getattr(value, "text", sorted(value) if isinstance(value, frozenset) else value)

    return repr({name: text(value) for name, value in vars(settings).items()})


def test_settings_of_one_module_are_not_those_of_another() -> None:
    text = "proxy_read_timeout 1s; fastcgi_read_timeout 2s; uwsgi_read_timeout 3s; scgi_read_timeout 4s;"
    passes = ("proxy_pass http://a:1", "fastcgi_pass a:1", "uwsgi_pass a:1", "scgi_pass a:1")
    assert [location(f"{passed};", text).proxy.read_timeout for passed in passes] == [1.0, 2.0, 3.0, 4.0]


def test_settings_without_their_pass_have_no_effect_and_give_no_warning() -> None:
    config = http("fastcgi_temp_path /tmp/f 1 2; uwsgi_buffers 8 4k; scgi_param A b; server { location / { } }")
    assert config.warnings == () and config.servers[0].locations[0].handler == ""


@pytest.mark.parametrize(
    ("text", "scheme", "upstream"),
    [
        ("fastcgi_pass 127.0.0.1:9000;", "fastcgi", "127.0.0.1:9000"),
        ("fastcgi_pass unix:/run/x.sock;", "fastcgi", "unix:/run/x.sock"),
        ("fastcgi_pass u;", "fastcgi", "u"),
        ("uwsgi_pass U;", "uwsgi", "u"),
        ("uwsgi_pass uwsgi://127.0.0.1:1;", "uwsgi", "127.0.0.1:1"),
        ("uwsgi_pass suwsgi://127.0.0.1:1;", "suwsgi", "127.0.0.1:1"),
        ("uwsgi_pass uwsgi://unix:/run/x.sock;", "uwsgi", "unix:/run/x.sock"),
        ("scgi_pass [::1]:4000;", "scgi", "[::1]:4000"),
    ],
)
def test_destinations(text: str, scheme: str, upstream: str) -> None:
    where = location(text, "upstream u { server 127.0.0.1:1; }")
    passed, gateway = where.proxy.pass_, where.proxy.gateway
    assert passed is not None and gateway is not None
    assert (passed.scheme, passed.upstream, gateway.protocol) == (scheme, upstream, text.partition("_")[0])
    assert where.handler == text.partition(" ")[0]


FAULTS = [
    ("fastcgi_pass localhost;", 'no port in upstream "localhost"'),
    ("scgi_pass u:80;", 'upstream "u" may not have port 80'),
    ("uwsgi_pass uwsgi://;", 'no host in upstream ""'),
    ("fastcgi_pass a:1; fastcgi_pass b:1;", '"fastcgi_pass" directive is duplicate'),
    ("fastcgi_param A;", 'invalid number of arguments in "fastcgi_param" directive'),
    ("fastcgi_param A b if_empty;", 'invalid parameter "if_empty"'),
    ("fastcgi_index /;", 'fastcgi_index "/" in location is invalid'),
    ("fastcgi_split_path_info ^(.+)$;", 'pattern "^(.+)$" must have 2 captures'),
    ("uwsgi_modifier1 256;", "value must be between 0 and 255"),
    ("fastcgi_buffering maybe;", 'invalid value "maybe" in "fastcgi_buffering" directive, it must be "on" or "off"'),
    ("scgi_read_timeout x;", '"scgi_read_timeout" directive invalid value'),
    ("uwsgi_buffers 8 4k; uwsgi_buffers 8 4k;", '"uwsgi_buffers" directive is duplicate'),
    ("fastcgi_buffers 1 4k;", 'there must be at least 2 "fastcgi_buffers"'),
    ("fastcgi_cache none;", 'zero size shared memory zone "none"'),
    ("fastcgi_store on; fastcgi_store off;", '"fastcgi_store" directive is duplicate'),
    ("fastcgi_keep_con on;", 'unknown directive "fastcgi_keep_con"'),
    ("uwsgi_pass suwsgi://a:1; uwsgi_ssl_verify on;", "no uwsgi_ssl_trusted_certificate for uwsgi_ssl_verify"),
    ("health_check; fastcgi_pass a:1;", '"health_check" needs a "proxy_pass" without variables in its location'),
]


@pytest.mark.parametrize(("text", "fault"), FAULTS, ids=[text for text, _ in FAULTS])
def test_faults(text: str, fault: str) -> None:
    assert faults(f"upstream u {{ server a:1; }} server {{ location / {{ {text} }} }}") == [fault]


def test_an_if_keeps_the_destination_of_its_location() -> None:
    where = location("fastcgi_pass a:1; fastcgi_param A b; if ($arg_x) { add_header X y; } if ($arg_y) { uwsgi_pass a:1; }")
    for step, handler in zip(where.script, ("fastcgi_pass", "uwsgi_pass"), strict=True):
        inner = step.location  # type: ignore[union-attr]
        assert inner is not None and inner.proxy.pass_ is not None and inner.handler == handler
        assert inner.proxy.gateway is not None and inner.proxy.gateway.protocol == handler.partition("_")[0]
        assert len(inner.proxy.gateway.param) == (handler == "fastcgi_pass")


def test_a_nested_location_does_not_inherit_the_destination() -> None:
    where = location("fastcgi_pass a:1; location /a { } ")
    assert where.locations[0].handler == "" and where.locations[0].proxy.gateway is None


def test_a_cache_without_a_key_is_warned_of() -> None:
    config = http("fastcgi_cache_path memory keys_zone=p:1m; server { location / { fastcgi_pass a:1; fastcgi_cache p; } }")
    assert any('no "fastcgi_cache_key" for "fastcgi_cache"' in warning for warning in config.warnings)
