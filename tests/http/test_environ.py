"""environ: the environ is the request, and raw copies are used only where they agree with it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_proxy.errors import ProxyError
from wsgi_proxy.http.environ import agreed_pairs, agreed_target, client_options, field_values, pairs_of
from wsgi_proxy.worker.request.environ import field_keys

RAW = [("Host", "h"), ("X-User", "evil"), ("x-a", "1"), ("X-User", "more"), ("X_User", "twin"), ("Cookie", "c"), ("coOkie", "d")]


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ({}, RAW),
        ({"HTTP_X_USER": "good"}, [RAW[0], ("X-User", "good"), RAW[2], RAW[5], RAW[6]]),
        ({"HTTP_X_USER": None}, [RAW[0], RAW[2], RAW[5], RAW[6]]),
        ({"HTTP_COOKIE": None, "HTTP_X_A": ""}, [*RAW[:2], ("x-a", ""), *RAW[3:5]]),
        ({"HTTP_COOKIE": "e"}, [*RAW[:5], ("Cookie", "e")]),
        ({"HTTP_X_NEW": "n", "CONTENT_TYPE": "t/x"}, [*RAW, ("X-New", "n"), ("Content-Type", "t/x")]),
        ({"CONTENT_TYPE": "", "CONTENT_LENGTH": ""}, RAW),
    ],
)
def test_fields_agree_one_by_one(edits: dict[str, str | None], expected: list[tuple[str, str]]) -> None:
    sent = field_keys(RAW)
    environ: dict[str, Any] = {**sent, **edits}
    environ = {key: value for key, value in environ.items() if value is not None}
    assert agreed_pairs(environ, RAW, sent) == expected


@pytest.mark.parametrize(
    ("edits", "options"),
    [
        ({}, "close, X-User, Upgrade, X-None"),
        ({"HTTP_X_USER": "".join(["e", "vil"])}, "close, Upgrade, X-None"),
        ({"HTTP_X_USER": "good"}, "close, Upgrade, X-None"),
        ({"HTTP_X_NONE": "set"}, "close, X-User, Upgrade"),
        ({"HTTP_X_USER": None}, "close, X-User, Upgrade, X-None"),
        ({"HTTP_UPGRADE": "b"}, "close, X-User, Upgrade, X-None"),
    ],
)
def test_connection_lists_the_client_s_fields_alone(edits: dict[str, str | None], options: str) -> None:
    raw = [("Connection", "close, X-User, Upgrade, X-None"), ("X-User", "evil"), ("Upgrade", "a")]
    sent = field_keys(raw)
    environ = {key: value for key, value in {**sent, **edits}.items() if value is not None}
    assert [part.strip() for part in client_options(environ, sent).split(",")] == options.split(", ")


def test_a_guessed_value_of_one_character_is_the_middleware_s() -> None:
    sent = field_keys([("Connection", "X-Guest"), ("X-Guest", "1")])
    assert client_options({**sent, "HTTP_X_GUEST": "1"}, sent) == ""


def test_a_new_field_has_no_twin() -> None:
    raw = [("X_User", "evil")]
    assert agreed_pairs({"HTTP_X_USER": "good"}, raw, field_keys(raw)) == [("X-User", "good")]
    assert agreed_pairs({}, raw, field_keys(raw)) == raw


@pytest.mark.parametrize("value", ["a\r\nB: c", "a\nb", "a\0", 7, None, b"a"])
def test_what_is_no_value_of_a_field(value: Any) -> None:
    with pytest.raises(ProxyError) as fault:
        field_values({"HTTP_X_A": value})
    assert fault.value.status == 500 and "HTTP_X_A" in str(fault.value)


def test_fields_of_an_environ_alone() -> None:
    environ = {"HTTP_X_A": "1", "CONTENT_TYPE": "", "CONTENT_LENGTH": "3", "HTTP_VERSION": "2", "wsgi.input": None}
    assert pairs_of(environ) == [("X-A", "1"), ("Content-Length", "3"), ("Version", "2")]
    assert pairs_of({**environ, "SERVER_PROTOCOL": "HTTP/2"}) == [("X-A", "1"), ("Content-Length", "3")]


@pytest.mark.parametrize(
    ("raw", "mount", "path", "query", "target"),
    [
        ("/a%2Fb?q", "", "/a/b", "q", "/a%2Fb?q"),
        ("/a%2Fb?q", "", "/c d", "q", "/c%20d?q"),
        ("/a%2Fb?q", "", "/a/b", "", "/a%2Fb"),
        ("/a%2Fb", "", "/a/b", "x=1#", "/a%2Fb?x=1%23"),
        ("/a?q", "", "/a", "a b", "/a?a%20b"),
        ("/a?", "", "/a", "", "/a?"),
        ("/a?b?c", "", "/a", "b?c", "/a?b?c"),
        ("", "", "/a b", "q", "/a%20b?q"),
        ("", "", "", "", "/"),
        ("/legacy/a b", "", "/legacy/a b", "", "/legacy/a%20b"),
        # Mounts.
        ("/m/a%2Fb?q", "/m", "/a/b", "q", "/a%2Fb?q"),
        ("/m", "/m", "", "", "/"),
        ("/m?q", "/m", "", "q", "/?q"),
        ("/%6D/a%2Fb", "/m", "/a/b", "", "/a%2Fb"),
        ("/a%25b/c%2Fd", "/a%b", "/c/d", "", "/c%2Fd"),
        ("/mm/a", "/m", "/a b", "x", "/a%20b?x"),
        ("/m/a", "/m", "/changed", "", "/changed"),
        # A prefix that a proxy in front of the server removed (X-Forwarded-Prefix).
        ("/m/a%2Fb", "/m", "/m/a/b", "", "/m/a%2Fb"),
        ("/a%2Fb", "/m", "/a/b", "", "/a%2Fb"),
        # Servers that decode differently: cheroot keeps an encoded slash, Werkzeug's replaces bytes that are not UTF-8.
        ("/a%2fb%20c", "", "/a%2Fb c", "", "/a%2fb%20c"),
        ("/a%FF", "", "/a\xef\xbf\xbd", "", "/a%FF"),
        ("/\xe9%20", "", "/\xe9 ", "", "/\xe9%20"),
        ("/\xe9%20", "", "/\xc3\xa9 ", "", "/\xe9%20"),
        ("//a//b", "", "//a//b", "", "//a//b"),
    ],
)
def test_targets_agree_part_by_part(raw: str, mount: str, path: str, query: str, target: str) -> None:
    assert agreed_target({"SCRIPT_NAME": mount, "PATH_INFO": path, "QUERY_STRING": query}, raw) == target


LATIN = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=8)


@given(LATIN, LATIN, st.booleans())
def test_any_path_comes_back(mount: str, path: str, mounted: bool) -> None:
    """The decoded result is the environ's path, whatever the raw target was."""
    mount = "/" + mount if mounted else ""
    path = "/" + path
    raw = quote((mount + path).encode("latin-1"), safe="/")
    environ = {"SCRIPT_NAME": mount, "PATH_INFO": path, "QUERY_STRING": ""}
    for target in (agreed_target(environ, raw), agreed_target(environ, "/other"), agreed_target(environ, "")):
        assert unquote_to_bytes(target).decode("latin-1") == path
    assert agreed_target(environ, raw) == raw[len(raw) - len(quote(path.encode("latin-1"), safe="/")) :]
