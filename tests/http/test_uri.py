"""uri: targets are normalised as nginx does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_proxy.errors import ClientError
from wsgi_proxy.http.uri import bare_host, behind, check_host, escape, escape_args, file_name, normalise, printable, split_unsafe


@pytest.mark.parametrize(
    ("target", "uri", "args"),
    [
        ("/", "/", ""),
        ("/a?b?c", "/a", "b?c"),
        ("/a/../%62//c?x=%20", "/b/c", "x=%20"),
        ("//a/b", "/a/b", ""),
        ("/a/./", "/a/", ""),
        ("/a/.", "/a/", ""),
        ("/a/b/..", "/a/", ""),
        ("/a%2fb%2e%2e/", "/a/b../", ""),
        ("/a/%2e%2e/b", "/b", ""),
        ("/x%3fy?z", "/x?y", "z"),
        ("/%25%32%35", "/%25", ""),
        ("/a#frag?x", "/a", ""),
        ("/é", "/é", ""),
    ],
)
def test_normalised(target: str, uri: str, args: str) -> None:
    assert normalise(target) == (uri, args)


def test_slashes_stay_when_told_so() -> None:
    assert normalise("//a//b", merge_slashes=False) == ("//a//b", "")
    assert normalise("/a//../b", merge_slashes=False) == ("/a/b", "")


@pytest.mark.parametrize("target", ["/..", "/a/../..", "/%2e%2e/", "/%", "/%0", "/%zz", "/a%00b"])
def test_refused(target: str) -> None:
    with pytest.raises(ClientError):
        normalise(target)


@given(st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=30))
def test_escaping_is_undone_by_normalising(path: str) -> None:
    uri = "/" + path.replace("/", "-").replace(".", "_")
    assert normalise(escape(uri)) == (uri, "")


@pytest.mark.parametrize(
    ("text", "path", "args", "target"),
    [
        ("/a b", "/a%20b", "/a%20b", "/a%20b"),
        ('"<>\\^`{|}', "%22%3C%3E%5C%5E%60%7B%7C%7D", "%22%3C%3E%5C%5E%60%7B%7C%7D", '"<>\\^`{|}'),
        ("a&b+c;d", "a&b+c;d", "a%26b%2Bc%3Bd", "a&b+c;d"),
        ("%?#", "%25%3F%23", "%25%3F%23", "%?#"),
        ("\r\n\x7f\xe9", "%0D%0A%7F%E9", "%0D%0A%7F%E9", "%0D%0A%7F\xe9"),
    ],
)
def test_escapes_by_place(text: str, path: str, args: str, target: str) -> None:
    assert (escape(text), escape_args(text), printable(text)) == (path, args, target)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("/a%3Fb?c%20d?e", ("/a?b", "c%20d?e")),
        ("/a%2541", ("/a%41", "")),
        ("/a%zz%4", ("/azz", "")),
        ("/..a/...", ("/..a/...", "")),
        ("a", ("a", "")),
        ("/a?/../b", ("/a", "/../b")),
        *((text, None) for text in ("", "?a", "..", "../a", "/a/..", "/a/../b", "/a/%2e%2e/b", "/a/..%2Fb", "/a%00", "/a\0")),
    ],
)
def test_what_an_application_names(text: str, parts: tuple[str, str] | None) -> None:
    assert split_unsafe(text) == parts


@pytest.mark.parametrize(
    ("target", "raw"),
    [
        ("/api/a%2Fb?c=%2F", "a%2Fb?c=%2F"),
        ("/api/", ""),
        ("/api//x", "/x"),
        ("/api/..%2f..%2fx", None),
        ("/api/a%2f..%2fb", None),
        ("/api/%2e/x", None),
        ("/api/a#b", None),
        ("/%61pi/x", None),
        ("/other", None),
    ],
)
def test_the_raw_part_behind_a_prefix(target: str, raw: str | None) -> None:
    assert behind(target, "/api/") == raw


def test_an_address_of_a_later_version_is_a_host() -> None:
    """RFC 3986, section 3.2.2: `v`, its version in hexadecimal digits, a dot and characters of names or colons."""
    assert check_host("[v1F.aB:c!$]:81") == ("[v1F.aB:c!$]", 81)
    for wrong in ("[v.a]", "[v1.]", "[v1]", "[vg.a]", "[v1.a/b]", "[v1.a]b"):
        with pytest.raises(ClientError):
            check_host(wrong)


def test_bare_hosts() -> None:
    hosts = ("[::1]:443", "a.example:8443", "a", "[::1]")
    assert [bare_host(host) for host in hosts] == ["::1", "a.example", "a", "::1"]


def test_file_names_are_those_of_the_file_system() -> None:
    assert file_name("/caf\xc3\xa9") == "/café" and file_name("\xff") == "\udcff"
