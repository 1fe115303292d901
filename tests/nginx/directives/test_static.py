"""Files and headers."""

from __future__ import annotations

import pytest

from tests.support.directive import faults, http, location, said
from wsgi_proxy.exchange import Exchange


def test_where_files_are() -> None:
    core = location("root web/; index a.html $host.html /last; autoindex on;").core
    assert said(core.root) == "/srv/x/web" and core.autoindex
    assert len(core.index or ()) == 3


@pytest.mark.parametrize(("written", "last"), [("a b /c", "/c"), ("a @d", "@d"), ("a =404", 404)])
def test_try_files(written: str, last: str | int) -> None:
    *_, found = location(f"try_files {written};").core.try_files
    assert (found if isinstance(found, int) else said(found)) == last


def test_a_fallback_that_is_not_there_is_told() -> None:
    text = "server { location / { try_files x @a; } %s }"
    assert 'could not find named location "@a"' in http(text % "").warnings[0]
    assert http(text % "location @a { }").warnings == ()


def test_headers() -> None:
    core = location("add_header A b; add_header C $host always; add_trailer D e;").core
    assert [(header.name, header.always) for header in core.add_header] == [("A", False), ("C", True)]
    assert [header.name for header in core.add_trailer] == ["D"]


@pytest.mark.parametrize(
    ("written", "text", "modified"),
    [("1h", "1h", False), ("-1", "-1", False), ("+2m", "+2m", False), ("off", "off", False), ("max", "max", False),
     ("epoch", "epoch", False), ("@15h30m", "@15h30m", False), ("modified +1d", "+1d", True)],
)  # fmt: skip
def test_expires(written: str, text: str, modified: bool) -> None:
    core = location(f"expires {written};").core
    assert (said(core.expires), core.expires_modified) == (text, modified)


def test_the_proxys_own_pages() -> None:
    assert location("stub_status;").handler == "stub_status"
    found = location("wsgi_proxy_status;")
    assert (found.handler, found.core.metrics) == ("status", "page")
    assert location("wsgi_proxy_status metrics;").core.metrics == "metrics"
    assert faults("server { location / { wsgi_proxy_status x; } }") == ['invalid value "x"']


@pytest.mark.parametrize(("name", "field"), [("X-A", ("X-A", "v")), ("X-A:", ("X-A", ": v")), ("X-A:b", ("X-A", "b: v"))])
def test_the_name_of_a_field(name: str, field: tuple[str, str]) -> None:
    (found,) = location(f"add_header {name} v;").core.add_header
    assert (found.name, found.value(Exchange())) == field


@pytest.mark.parametrize("name", ['"X A"', ":x", "X\xe4", "X-A:$uri"])
def test_names_that_are_none(name: str) -> None:
    config = http(f"server {{ location / {{ add_header {name} v; }} }}")
    (found,) = config.servers[0].locations[0].core.add_header
    assert found.value(Exchange()) == ""
    assert [
        warning.partition(" in ")[0].endswith("is no name of a header field: the field is not sent")
        for warning in config.warnings
    ]


@pytest.mark.parametrize("name", ["flv", "mp4"])
def test_media_files_are_sent_whole_with_a_warning(name: str) -> None:
    (warning,) = http(f"server {{ location / {{ {name}; }} }}").warnings
    assert warning.startswith(f'"{name}" has no effect: "start" and "end" in a request are ignored in /')


def test_an_empty_value_is_no_field_whatever_its_name() -> None:
    assert location('add_header X-A: "";').core.add_header[0].value(Exchange()) == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("disable_symlinks maybe;", 'invalid parameter "maybe"'),
        ("disable_symlinks from=/x;", '"disable_symlinks" must have "off", "on" or "if_not_owner" parameter'),
        ("disable_symlinks on if_not_owner;", 'duplicate parameters "on if_not_owner"'),
        ("disable_symlinks off from=/x;", '"from=" cannot be used with "off" parameter'),
        ("disable_symlinks on; disable_symlinks off;", '"disable_symlinks" directive is duplicate'),
    ],
)
def test_the_faults_of_disable_symlinks_are_nginxs(text: str, message: str) -> None:
    assert faults(text) == [message]
