"""`http`, `server`, `location`, `if`, `limit_except`; their faults are in nginx_faults.py."""

from __future__ import annotations

import pytest

from tests.support.directive import faults, http, location, server
from wsgi_proxy.config import If


@pytest.mark.parametrize(
    ("written", "kind", "pattern"),
    [
        ("/", "", "/"),
        ("= /x", "=", "/x"),
        ("=/x", "=", "/x"),
        ("^~ /x", "^~", "/x"),
        ("^~/x", "^~", "/x"),
        ("~ ^/x$", "~", "^/x$"),
        (r"~*\.(png|jpe?g)$", "~*", r"\.(png|jpe?g)$"),
        ('~ "^/.{2}$"', "~", "^/.{2}$"),
    ],
)
def test_locations(written: str, kind: str, pattern: str) -> None:
    (found,) = server(f"location {written} {{ }}").locations
    assert (found.kind, found.pattern, found.regex is not None) == (kind, pattern, kind in ("~", "~*"))


def test_named_locations_are_apart() -> None:
    found = server("location / { try_files x @a; } location @a { return 204; }")
    assert [place.pattern for place in found.locations] == ["/"]
    assert list(found.named) == ["@a"]


def test_regular_expressions_keep_the_order_of_the_file() -> None:
    found = server("location ~ b { } location /p { location ~ x { } location /p/q { } } location ~ a { }")
    assert [place.pattern for place in found.locations] == ["b", "/p", "a"]
    assert [place.pattern for place in found.locations[1].locations] == ["x", "/p/q"]


def test_a_regular_expression_knows_case() -> None:
    one, two = server("location ~ a { } location ~* b { }").locations
    assert one.regex is not None and two.regex is not None
    assert not one.regex.search("A") and two.regex.search("B")


def test_conditions_with_and_without_blanks_in_their_brackets() -> None:
    for written in ("($host)", "( $host )", '($host = "a")', '( $host = "a" )', "($host ~* ^a)", "(-f /x)", "( !-e /x )"):
        (step,) = location(f"if {written} {{ return 204; }}").script
        assert isinstance(step, If) and len(step.script) == 1
        (step,) = server(f"if {written} {{ return 204; }}").script
        assert isinstance(step, If) and step.location is None


def test_the_script_keeps_the_order_of_the_file() -> None:
    steps = location("set $a 1; if ($a) { break; } rewrite ^ /x; return 204;").script
    assert [type(step).__name__ for step in steps] == ["Set", "If", "Rewrite", "Return"]


def test_what_servers_say_about_one_address_must_agree() -> None:
    text = (
        "server { listen 80 default_server; server_name a; } server { listen 80; server_name a b; } "
        "server { listen 81; server_name a; }"
    )
    (warning,) = http(text).warnings
    assert warning.startswith('conflicting server name "a" on 0.0.0.0:80, ignored')


def test_several_faults_are_told_at_once() -> None:
    text = "server { foo; listen 80; listen 80; location / { } location / { root a; root b; } }"
    assert faults(text) == [
        'unknown directive "foo"',
        "a duplicate listen 0.0.0.0:80",
        '"root" directive is duplicate',
        'duplicate location "/"',
    ]
