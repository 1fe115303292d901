"""Tokens of nginx.conf, each word as nginx reads it."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.first_fault import first_of_nginx, first_of_ours
from wsgi_proxy.config import Return
from wsgi_proxy.nginx import reader as nginx


def returned(argument: str) -> str:
    """Return the text of a `return 200 …;` with this argument, as written."""
    config = nginx.loads(f"events {{}} http {{ server {{ return 200 {argument}; }} }}")
    step = config.servers[0].script[0]
    assert isinstance(step, Return) and step.text is not None
    return step.text.constant  # type: ignore[attr-defined,no-any-return]


# --- text to statements -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("plain", "plain"),
        ('"in \\"double\\" quotes"', 'in "double" quotes'),
        ("'in \\'single\\' quotes'", "in 'single' quotes"),
        ("'a \"b\" c'", 'a "b" c'),
        (r'"tab\tline\nback\\slash\q"', "tab\tline\nback\\slash\\q"),
        (r"bare\ blank", "bare\\ blank"),
        ('"{ not a block; }"', "{ not a block; }"),
        ('"# no comment"', "# no comment"),
        ("in#side", "in#side"),
        ("a}b", "a}b"),
        ("a}}", "a}}"),
        ('mid"quote', 'mid"quote'),
        ("(#)", "(#)"),
        ('"two\nlines"', "two\nlines"),
        ('""', ""),
        ('"é"', "\xc3\xa9"),
        ("à", "\xc3\xa0"),  # the second byte is a no-break space to Python
    ],
)
def test_a_word_is_read_as_nginx_reads_it(written: str, meant: str) -> None:
    assert returned(written) == meant


def test_a_variable_in_braces_ends_where_its_brace_does() -> None:
    text = "events {} http { server { location / { proxy_set_header A ${host} ; add_header B ${host}x always; } } }"
    location = nginx.loads(text).servers[0].locations[0]
    assert [name for name, _ in location.proxy.set_header or ()] == ["A"]
    assert [(header.name, header.always) for header in location.core.add_header] == [("B", True)]


def test_comments_carriage_returns_and_a_byte_order_mark_are_no_words() -> None:
    text = '\ufeffevents {} # }{;\r\nhttp { # "\r\n}#end'
    assert nginx.loads(text).servers == ()


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0$"), max_size=20), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_any_quoted_words_come_back(words: list[str]) -> None:
    quoted = " ".join('"' + re.sub(r'(["\\])', r"\\\1", word) + '"' for word in words)
    (statement,) = nginx._Files("/x").parse("/x", f"foo {quoted};".encode())
    assert statement.args == [word.encode().decode("latin-1") for word in words]


# --- faults, compared with nginx --------------------------------------------------------------------------------------------


_PIECES = [
    "env", "events", "http", "server", "location /", "return 2", "{", "}", ";", " ", "\n", "\t", '"', "'", "\\a", '\\"', "#", "$",
    "${", "a", "b", "x}", "\r\n", '""', "'a'", "(", ")", "env A", "env B;\n", "events {}\n", "http {\n", "}\n",
]  # fmt: skip


def test_any_text_is_read_as_nginx_reads_it(tmp_path: Path) -> None:
    dice = Random(2611)
    texts = []
    for _ in range(400):
        before, behind = dice.choice([("", ""), ("", " } }"), ("events {}\nhttp { server { ", " } }")])
        texts.append(before + "".join(dice.choices(_PIECES, k=dice.randint(1, 14))) + behind)
    cases = [(tmp_path / f"{number}.conf", text) for number, text in enumerate(texts)]
    with ThreadPoolExecutor(2) as pool:
        messages = list(pool.map(first_of_nginx, cases))
    assert [(text, first_of_ours(path)) for path, text in cases] == list(zip(texts, messages, strict=True))
