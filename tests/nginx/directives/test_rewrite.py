"""`set`, `rewrite`, `return`, and variables defined by tables."""

from __future__ import annotations

import pytest

from tests.support.directive import faults, http, location, said, server
from wsgi_proxy.config import Break, Return, Rewrite, Set
from wsgi_proxy.errors import ConfigError
from wsgi_proxy.nginx import reader as nginx


def test_set_and_break() -> None:
    one, two = server("set $Foo bar; break;").script
    assert isinstance(one, Set) and (one.name, said(one.value)) == ("foo", "bar")
    assert isinstance(two, Break)


@pytest.mark.parametrize(
    ("written", "status", "text"),
    [("204", 204, None), ("301 /x", 301, "/x"), ("200 ''", 200, ""), ("http://x/", 302, "http://x/"), ("444", 444, None)],
)
def test_return(written: str, status: int, text: str | None) -> None:
    (step,) = server(f"return {written};").script
    assert isinstance(step, Return)
    assert (step.status, None if step.text is None else said(step.text)) == (status, text)


@pytest.mark.parametrize(
    ("written", "flag"),
    [("/x", ""), ("/x last", "last"), ("/x break", "break"), ("/x redirect", "redirect"), ("/x permanent", "permanent"),
     ("http://x/ last", "redirect"), ("https://x/ permanent", "permanent"), ("$scheme://x", "redirect")],
)  # fmt: skip
def test_rewrite(written: str, flag: str) -> None:
    (step,) = location(f"rewrite ^/a {written};").script
    assert isinstance(step, Rewrite) and step.flag == flag


def test_tables_may_be_used_before_they_are_defined() -> None:
    text = (
        "log_format l $b; map $a $b { default 1; } map $host $a { x y; } geo $g { default 0; 10.0.0.0/8 1; } "
        "split_clients $remote_addr $s { 50% a; * b; } server { return 200 $b$g$s; }"
    )
    assert http(text).servers
    assert faults("map $nothing $b { default 1; }") == ['unknown "nothing" variable']


def test_a_table_may_include() -> None:
    assert faults("map $host $b { include /no/such; }") == ['open() "/no/such" failed (2: No such file or directory)']
    assert faults("map $host $b { a { } }") == ['unexpected "{"']


def test_variables_of_a_fault_have_their_line() -> None:
    with pytest.raises(ConfigError, match=r'/nginx.conf:3: unknown "foo" variable'):
        nginx.loads("events {}\nhttp { server {\nreturn 200 $foo;\n} }")


@pytest.mark.parametrize("wrong", ["a;", "~( b;", "a ${y;", "a b c;", "v0 twice;"])
@pytest.mark.parametrize("before", [1, 2, 7])
def test_a_fault_inside_a_table_has_its_line(wrong: str, before: int) -> None:
    good = [f"v{number} w;" for number in range(60)]
    block = "\n".join([*good[:before], wrong, *good[50:]])
    with pytest.raises(ConfigError) as caught:
        nginx.loads(f"events {{}} http {{ map $host $a {{\n{block} }} }}")
    assert [fault.line for fault in caught.value.faults] == [before + 2]
