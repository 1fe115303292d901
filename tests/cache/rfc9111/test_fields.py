"""Seconds, lists and directives, well-formed and malformed. A malformed one never extends the freshness."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_proxy.cache.rfc9111 import fields as cf


@given(st.text())
def test_no_text_breaks_a_reader(text):
    cf.parse_delta(text)
    cf.members([("vary", text)], "vary")
    directives = cf.cache_control([("Cache-Control", text)])
    for name in ("max-age", "private", "no-cache"):
        directives.seconds(name), directives.bare(name), directives.fields(name)
    cf.targeted([("CDN-Cache-Control", text)])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0100", 100),
        ("2147483648", 2**31),
        ("99999999999999999999999", 2**31),
        ("", None),
        (None, None),
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("1 ", None),
        ("\u0661", None),
        ("0x10", None),
    ],
)
def test_seconds(text, seconds):
    assert cf.parse_delta(text) == seconds


def directives(*lines):
    return cf.cache_control([("Cache-Control", line) for line in lines])


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("max-age=100", 100),
        ("MaX-aGe=100", 100),
        ("foo, max-age=100,bar", 100),
        ('max-age="100"', 100),
        ("max-age='100'", 0),
        ("max-age=100, max-age=1", 1),
        ("max-age=1, max-age=100", 1),
        ("max-age=100, max-age=abc", 0),
        ("max-age=-1", 0),
        ("max-age=1.5", 0),
        ("max-age", 0),
        ("max-age=", 0),
        ("max-age =100", 0),
        ("max-age= 100", 0),
        ("max-age=100a", 0),
        ("max-age:100", 0),
        ("max-age=99999999999", 2**31),
        ('foo="max-age=100"', None),
        ('foo="bar, max-age=100, baz"', None),
        ('foo="bar\\", max-age=100"', None),
        ('foo="a", max-age=100', 100),
        ("amax-age=100", None),
        (" , ,max-age=100, ", 100),
        ("", None),
    ],
)
def test_max_age_as_written(line, seconds):
    assert directives(line).seconds("max-age") == seconds


def test_directives_of_several_lines_count_together():
    both = directives("no-store", "max-age=5")
    assert "no-store" in both and both.seconds("max-age") == 5


@pytest.mark.parametrize(
    "line", ["no-store", "NO-STORE", "no-store=1", 'no-store="x"', "no-store foo", "a,no-store", "no-store;x"]
)
def test_what_forbids_is_heard_even_when_malformed(line):
    assert "no-store" in directives(line)


def test_what_allows_is_not_heard_when_malformed():
    assert "public" not in directives("public foo")
    assert "public" in directives("Public")


@pytest.mark.parametrize(
    ("line", "bare", "fields"),
    [
        ("private", True, set()),
        ('private="Set-Cookie"', False, {"set-cookie"}),
        ('private="a, B ,"', False, {"a", "b"}),
        ("private=a", False, {"a"}),
        ('private=""', True, set()),
        ('private="a b"', True, set()),
        ('private="a', True, set()),
        ('private="a", private', True, {"a"}),
        ("public", False, set()),
    ],
)
def test_field_names_of_qualified_directives(line, bare, fields):
    found = directives(line)
    assert found.bare("private") is bare
    assert found.fields("private") == fields


def test_members_split_outside_quotes_only():
    assert cf.members([("X", 'a, "b, c" ,,d'), ("x", "e")], "x") == ["a", '"b, c"', "d", "e"]


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("max-age=60", 60),
        ("max-age=60;foo=bar", 60),
        ("max-age=60, max-age=5", 5),
        ("  max-age=60  ", 60),
        ("no-store=?0, max-age=1", 1),
        ('max-age="60", foo', None),
        ("max-age=1.5, foo", None),
        ("max-age, foo", None),
        ("max-age=-1", 0),
        ("a=(1 2), max-age=7", 7),
        ("a=:aGk=:, b=@12, c=tok/en, max-age=7", 7),
    ],
)
def test_a_targeted_field(line, seconds):
    found = cf.targeted([("CDN-Cache-Control", line)])
    assert found is not None
    assert found.seconds("max-age") == seconds
    assert "no-store" not in found


@pytest.mark.parametrize(
    "line", ["", "  ", "MAX-AGE=1", "max-age=", "max-age=60,", "max-age =60", "a=1 b", "max-age=60;;", 'a="x', "a=(1 2"]
)
def test_a_targeted_field_that_is_no_dictionary_counts_as_absent(line):
    assert cf.targeted([("CDN-Cache-Control", line)]) is None


def test_no_targeted_field():
    assert cf.targeted([("Cache-Control", "max-age=1")]) is None
