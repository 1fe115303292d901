"""Text with $names: syntax, look-up order, escaping, and the moment of look-up."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.routing import environ
from wsgi_proxy.config import SourceLine
from wsgi_proxy.errors import ConfigError
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.variables.names import Names, compile_log, compile_text


def exchange(target: str = "/", **fields: str) -> Exchange:
    x = Exchange.from_environ(environ("GET", target, [(name.replace("_", "-"), value) for name, value in fields.items()], 80))
    x.uri, _, x.args = target.partition("?")
    return x


def value(text: str, x: Exchange | None = None, names: Names | None = None) -> str:
    names = names or Names()
    template = compile_text(text, names)
    names.check()
    return template(x or exchange())


def message(text: str, **options: Any) -> str:
    names = Names(SourceLine("nginx.conf", 7))
    with pytest.raises(ConfigError) as caught:
        names.compile(text, **options)
        names.check()
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ""),
        ("plain {text}", "plain {text}"),
        ("$uri", "/a"),
        ("${uri}x$uri", "/ax/a"),
        ("<$URI>", "</a>"),
        ("$arg_k$is_args", "v?"),
        ("$1-$2", "one-"),
        ("$10", "one0"),
        ("'\"\\{}%s", "'\"\\{}%s"),
        ("$arg_none", ""),
    ],
)
def test_text(text: str, wanted: str) -> None:
    x = exchange("/a?k=v")
    x.captures = ("all", "one", None)
    assert value(text, x) == wanted


@pytest.mark.parametrize(("text", "constant"), [("plain", "plain"), ("", ""), ("$uri", None)])
def test_constant_and_text_are_said(text: str, constant: str | None) -> None:
    template: Any = compile_text(text, Names())
    assert template.constant == constant
    assert constant is not None or template.text == text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$", "invalid variable name"),
        ("a $ b", "invalid variable name"),
        ("${}", "invalid variable name"),
        ("${uri", 'the closing bracket in "uri" variable is missing'),
        ("$nope and $more", 'unknown "nope" variable\nnginx.conf:7: unknown "more" variable'),
        ("${1}", 'unknown "1" variable'),
    ],
)
def test_faults_have_nginx_words_and_their_place(text: str, wanted: str) -> None:
    assert message(text) == f"nginx.conf:7: {wanted}"


def test_a_name_may_be_used_before_it_is_defined() -> None:
    names = Names()
    early = compile_text("<$late>", names)
    names.define("late", lambda x: x.uri)
    names.check()
    assert early(exchange("/x")) == "</x>"


def test_a_template_compiled_after_the_check_finds_its_names_by_itself() -> None:
    names = Names()
    names.check()
    assert compile_text("$uri", names)(exchange("/x")) == "/x"
    late = compile_text("$unknown_one", names)
    with pytest.raises(ConfigError, match="unknown_one"):
        late(exchange())


def test_a_variable_that_is_set_is_empty_until_then() -> None:
    names = Names()
    names.declare_set("Foo")
    x = exchange()
    assert value("[$foo]", x, names) == "[]"
    x.variables["foo"] = "bar"
    assert value("[$foo]", x, names) == "[bar]"


def test_a_table_is_asked_once_a_request_unless_it_is_volatile() -> None:
    class Table:
        def __init__(self, volatile: bool) -> None:
            self.volatile = volatile
            self.asked = 0

        def __call__(self, x: Exchange) -> str:
            self.asked += 1
            return str(self.asked)

    steady, moving = Table(False), Table(True)
    names = Names()
    names.define("steady", steady)
    names.define("moving", moving)
    assert value("$steady$steady$moving$moving", None, names) == "1112"
    x = exchange()
    names.declare_set("steady")
    template = compile_text("${steady}!", names)
    names.check()
    x.variables["steady"] = "set"
    assert template(x) == "set!"


@pytest.mark.parametrize("name", ["host", "remote_addr", "status", "upstream_addr"])
def test_a_built_in_name_cannot_be_declared_again(name: str) -> None:
    with pytest.raises(ConfigError, match=f'the duplicate "{name}" variable'):
        Names().define(name, lambda x: "")
    with pytest.raises(ConfigError, match="duplicate"):
        Names().declare_set(name)


def test_args_can_be_set_and_stays_what_it_is() -> None:
    names = Names()
    names.declare_set("args")
    assert value("$args", exchange("/?a=b"), names) == "a=b"


def test_a_declared_name_goes_before_a_prefix() -> None:
    names = Names()
    names.define("http_mine", lambda x: "defined")
    assert value("$http_mine $http_yours", exchange(mine="1", yours="2"), names) == "defined 2"


def test_named_captures_are_not_found_until_they_match() -> None:
    names = Names()
    names.declare_captures(re.compile("(?P<Tail>.*)"))
    log = compile_log("$tail", names)
    names.check()
    x = exchange()
    assert log(x) == "-"
    x.variables["tail"] = ""
    assert log(x) == ""


def test_quoted_captures_are_escaped_when_the_request_was() -> None:
    names = Names()
    template = names.compile("$1", quoted=True)
    names.check()
    plain, escaped = exchange("/a"), exchange("/a%20b")
    plain.captures = escaped.captures = ("", "a b&c")
    assert (template(plain), template(escaped)) == ("a b&c", "a%20b%26c")


# --- logs -------------------------------------------------------------------------------------------------------------------


def line(text: str, escape: str, **fields: str) -> str:
    names = Names()
    template = compile_log(text, names, escape)
    names.check()
    return template(exchange(**fields))


@pytest.mark.parametrize(
    ("escape", "wanted"),
    [
        ("default", '"a\\x22\\x5C\\x0A\\xE9" "-"'),
        ("json", '"a\\"\\\\\\n\xe9" ""'),
        ("none", '"a"\\\n\xe9" ""'),
    ],
)
def test_log_escapes(escape: str, wanted: str) -> None:
    assert line('"$http_x" "$http_none"', escape, x='a"\\\n\xe9') == wanted


def test_a_clean_line_takes_the_short_way_and_says_the_same() -> None:
    assert line('"$http_x" "$http_none"', "default", x="plain") == '"plain" "-"'
    assert line("tab\t$http_x", "default", x='"') == "tab\t\\x22"


def test_one_quote_too_many_is_seen_even_when_the_numbers_agree() -> None:
    # Two quotes in the format and none from a missing value: a value with two must still be escaped.
    assert line('$http_x"$http_none"', "default", x='""') == '\\x22\\x22"-"'


def test_unknown_escape() -> None:
    with pytest.raises(ConfigError, match='unknown log format escaping "xml"'):
        compile_log("", Names(), "xml")


def test_a_family_has_an_empty_name() -> None:
    x = exchange("/?=v", cookie="=c")
    assert value("<$arg_|$http_|$cookie_|$sent_http_|$upstream_http_>", x) == "<||c||>"


def test_a_set_of_a_prefixed_name_leaves_the_field_where_none_has_run() -> None:
    """As in nginx: `set $http_bar` in one location does not empty the field in another."""
    names = Names()
    names.declare_set("http_bar")
    x = Exchange.from_environ(environ("GET", "/", [("Bar", "sent")], 8080))
    value = compile_text("$http_bar", names)
    assert value(x) == "sent"
    x.variables["http_bar"] = "given"
    assert value(x) == "given"
