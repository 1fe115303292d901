"""PCRE as Python's regular expressions: the same matches, or a refusal."""

from __future__ import annotations

import re
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_proxy.errors import ConfigError
from wsgi_proxy.variables.patterns import compile_regex


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"\.(gif|jpe?g)$", ["a.gif", "a.jpeg", "a.jpg\n"], ["a.gift"]),
        (r"^/a\z", ["/a"], ["/a\n"]),
        (r"^/a\Z", ["/a", "/a\n"], ["/ab"]),
        (r"^(?<n>a)\k<n>\k{n}\k'n'\g{n}\g1\g{1}$", ["aaaaaaa"], ["aaaaaa"]),
        (r"^(?'q'a)(?P<p>b)(?P=p)$", ["abb"], ["aba"]),
        (r"^\h+\H$", [" \tx"], [" \t "]),
        (r"^a\Rb\N$", ["a\r\nbx", "a\nbx"], ["abx", "a\nb\n"]),
        (r"^[[:alpha:]_[]+$", ["ab_["], ["1", "]"]),
        (r"^[^[:^digit:]]+$", ["123"], ["1a"]),
        (r"^[]a]+$", ["]a]"], ["b"]),
        (r"^[^]a]$", ["b"], ["]", "a"]),
        (r"^[a&&b||c~~d]+$", ["a&|~d"], ["-"]),
        (r"^[+--]$", ["+", ",", "-"], ["."]),
        (r"^[--a]$", ["-", "A", "a"], ["b"]),
        (r"^[\w.-]+$", ["a_1.-"], ["é", " "]),
        (r"^\Qa.b*\E+$", ["a.b*", "a.b***"], ["axb"]),
        (r"^\x{41}\x42\x3\e\cA\o{101}$", ["AB\x03\x1b\x01A"], []),
        (r"^\p{L}+\P{L}$", ["ab1", "aé\xf81"], ["1", "ab"]),
        (r"^\p{L}+\p{^N}$", ["ab-", "éa"], ["a1"]),
        (r"(?i)^\p{Lu}[\p{Ll}_]$", ["Aa", "A_", "Éé"], ["aa", "AA", "É\xc9"]),
        (r"^[^\p{L}\d]\C$", ["-é", "_1"], ["a1", "1a"]),
        (r"^[\p{Greek}]?[^\p{Greek}]$", ["a"], ["ab"]),
        (r"(?i)^ABC$", ["abc", "ABC"], []),
        (r"^a(?i)b$", ["ab", "aB"], ["Ab"]),
        (r"^(?:a(?i)b|c)d$", ["aBd", "Cd", "cd"], ["abD", "Abd"]),
        (r"^a(?-i:b)$", ["ab"], ["aB"]),
        (r"^(?:a(?x) b # c" + "\n)c$", ["abc"], ["a b c"]),
        (r"^a(?#comment ( )b$", ["ab"], []),
        (r"^(?=ab)(?!ac)a(?<!x)b(?<=b)$", ["ab"], []),
        (r"^(a)?(?(1)b|c)$", ["ab", "c"], ["ac"]),
        (r"^a{2,3}b{x}$", ["aab{x}"], ["ab{x}"]),
        ("^\\_\\-\\/\\é$", ["_-/é"], []),
    ],
)
def test_the_same_language(pattern: str, good: list[str], bad: list[str]) -> None:
    compiled = compile_regex(pattern)
    for text in good:
        assert compiled.search(text), text
    for text in bad:
        assert not compiled.search(text), text


@pytest.mark.skipif("sys.version_info < (3, 11)")
def test_possessive_and_atomic() -> None:
    assert not compile_regex("^a++ab").search("aaab")
    assert not compile_regex("^(?>a+)ab").search("aaab")
    assert compile_regex(r"^\d{2}+x").search("12x")


def test_only_ascii_has_case_and_classes() -> None:
    assert compile_regex("^É$", True).search("É") and not compile_regex("^É$", True).search("é")
    assert compile_regex("^a$", True).search("A")
    assert not compile_regex(r"^\w$").search("é") and not compile_regex(r"^\s$").search("\x85")


@pytest.mark.parametrize(
    "pattern",
    ["(", ")", "a)", "[", "[a", "[]", "**", "a**", "\\", r"\p{Nope}", r"\p{L", r"[\p]", r"\X",
     "(?R)", "(?1)", "(?|a|b)", "(*UTF8)a", r"a\Kb",
     "(?#",
     "[[:nope:]]", r"[\R]", "(?<1>a)", "(?<n>a)(?<n>b)", r"\g{2}", "a{3,2}",
     "(?<=a+)b", "x{99999999999}"],
)  # fmt: skip
def test_refusals_name_the_pattern(pattern: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_regex(pattern)
    assert str(caught.value).startswith("pcre2_compile() failed: ")
    assert f'in "{pattern}"' in str(caught.value)


@given(st.text(alphabet="ab()[]{}|*+?^$\\.:<>=!-&~_ix#'\"19,QEk", max_size=12))
def test_anything_is_compiled_or_refused(pattern: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            assert isinstance(compile_regex(pattern), re.Pattern)
        except ConfigError as error:
            assert "pcre2_compile" in str(error)
