"""`keyval_zone` and `keyval`."""

from __future__ import annotations

import os

import pytest

from tests.support.directive import faults, http

ZONE = "keyval_zone zone=a:32k;"


def test_a_zone_and_its_variable() -> None:
    config = http(f"{ZONE} keyval $remote_addr $found zone=a;")
    zone = config.keyval_zones["a"]
    assert (zone.name, zone.size, zone.timeout, zone.kind, zone.state, zone.sync) == ("a", 32768, 0.0, "string", "", False)
    assert [variable.zone for variable in config.keyvals] == ["a"]


def test_all_parameters() -> None:
    config = http("wsgi_proxy_cluster redis://h; keyval_zone zone=a:1m timeout=1h type=ip state=conf/a.json sync;")
    zone = config.keyval_zones["a"]
    assert (zone.size, zone.timeout, zone.kind, zone.sync) == (1 << 20, 3600.0, "ip", True)
    assert zone.state == os.path.join(config.prefix, "conf/a.json")


def test_a_variable_before_its_zone() -> None:
    assert http(f"keyval $host $found zone=a; {ZONE}").keyval_zones


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("keyval_zone timeout=1h;", '"keyval_zone" must have "zone" parameter'),
        ("keyval_zone zone=a;", 'invalid zone size "zone=a"'),
        ("keyval_zone zone=a:1k;", 'zone "zone=a:1k" is too small'),
        ("keyval_zone zone=a:1m type=regex;", 'invalid parameter "type=regex"'),
        ("keyval_zone zone=a:1m timeout=x;", 'invalid parameter "timeout=x"'),
        ("keyval_zone zone=a:1m sync;", '"sync" of "keyval_zone" needs "wsgi_proxy_cluster"'),
        (f"{ZONE} {ZONE}", 'duplicate zone "a"'),
        (f"{ZONE} keyval $host found zone=a;", 'invalid variable name "found"'),
        (f"{ZONE} keyval $host $found a;", 'invalid parameter "a"'),
        (f"{ZONE} keyval $host $uri zone=a;", 'the duplicate "uri" variable'),
        ("keyval $host $found zone=none;", 'zero size shared memory zone "none"'),
    ],
)
def test_faults(text: str, fault: str) -> None:
    assert any(found.startswith(fault) for found in faults(text)), faults(text)
