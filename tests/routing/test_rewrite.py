"""rewrite: conditions, rewrites and their order. tests/differential/test_routing.py compares generated scripts with nginx."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.routing import environ
from wsgi_proxy.config import Break, If, Instruction, Location, Return, Rewrite, Set
from wsgi_proxy.errors import ConfigError, ProxyError
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.routing.locations import not_compiled
from wsgi_proxy.routing.rewrite import compile_condition, compile_rewrite, compile_script, run
from wsgi_proxy.variables.names import Names, compile_text
from wsgi_proxy.variables.patterns import compile_regex


def exchange(target: str = "/", **fields: str) -> Exchange:
    x = Exchange.from_environ(environ("GET", target, list(fields.items()), 80))
    x.uri, _, x.args = target.partition("?")
    x.location = Location()
    return x


def holds(x: Exchange, *args: str) -> bool:
    names = Names()
    condition = compile_condition(list(args), names)
    names.check()
    return condition(x)


def rewrite(pattern: str, replacement: str, flag: str = "") -> Rewrite:
    return compile_rewrite(compile_regex(pattern), replacement, flag, Names())


def text(value: str) -> Return:
    return Return(200, compile_text(value, Names()))


def done(x: Exchange, *script: Instruction) -> str | None:
    """Return the text of the script's `return`, None if it ran to its end."""
    found = run(compile_script(script, not_compiled), x)
    return None if found is None or found.text is None else found.text(x)


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        (("$arg_k",), True), (("$arg_zero",), False), (("$arg_none",), False), (("$arg_k", "=", "v"), True),
        (("$arg_k", "!=", "v"), False), (("$arg_k", "=", "$arg_k"), True), (("$uri", "~", "^/A"), False),
        (("$uri", "~*", "^/A"), True), (("$uri", "!~", "^/A"), True), (("$uri", "!~*", "^/A"), False), (("${arg_k}",), True),
    ],
)  # fmt: skip
def test_conditions(args: tuple[str, ...], wanted: bool) -> None:
    assert holds(exchange("/a?k=v&zero=0"), *args) is wanted


def test_file_conditions(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "run").write_text("")
    (tmp_path / "run").chmod(0o755)
    x = exchange("/file")
    x.prefix = str(tmp_path)
    for args, wanted in {
        ("-f", "file"): True, ("-f", "."): False, ("-d", "."): True, ("-e", "nope"): False, ("!-e", "nope"): True,
        ("-x", "run"): True, ("-x", "file"): False, ("-f", f"{tmp_path}$uri"): True, ("-f", "a\0b"): False,
    }.items():  # fmt: skip
        assert holds(x, *args) is wanted, args


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["x"], 'invalid condition "x"'), (["-f"], 'invalid condition "-f"'), (["-z", "a"], 'invalid condition "-z"'),
        (["$a", "=="], 'invalid condition "=="'), (["$a", "<", "b"], 'unexpected "<" in condition'),
        (["$a", "~", "("], "pcre2_compile() failed"), (["$uri", "=", "$"], "invalid variable name"),
    ],
)  # fmt: skip
def test_faults_of_conditions(args: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_condition(args, Names())
    assert message in str(caught.value)


def test_a_condition_that_fails_takes_the_captures_away() -> None:
    x = exchange("/ab")
    assert holds(x, "$uri", "~", "(a)(b)") and x.captures == ("ab", "a", "b")
    assert not holds(x, "$uri", "~", "z") and x.captures == ()


@pytest.mark.parametrize(
    ("replacement", "uri", "args"),
    [
        ("/y/$1", "/y/ab", "q=1"), ("/y/$1?", "/y/ab", ""), ("/y?p=$1", "/y", "p=ab&q=1"), ("/y?p=$1?", "/y", "p=ab"),
        ("$args", "q=1", "q=1"),
    ],
)  # fmt: skip
def test_rewrites(replacement: str, uri: str, args: str) -> None:
    x = exchange("/x/ab?q=1")
    assert run((rewrite("^/x/(.*)$", replacement),), x) is None
    assert (x.uri, x.args, x.relocate, x.uri_changed, x.internal) == (uri, args, True, True, True)


def test_a_question_mark_that_a_capture_brings_does_not_part_the_uri() -> None:
    x = exchange("/x/a%3Fb")
    x.uri = "/x/a?b"
    run((rewrite("^/x/(.*)$", "/y/$1"),), x)
    assert (x.uri, x.args) == ("/y/a?b", "")


@pytest.mark.parametrize(
    ("flag", "status", "replacement"),
    [("redirect", 302, "/n"), ("permanent", 301, "/n"), ("", 302, "http://h/n"), ("last", 302, "$scheme://h")],
)
def test_rewrites_that_redirect(flag: str, status: int, replacement: str) -> None:
    x = exchange("/a?q")
    found = run((rewrite("a", replacement, flag),), x)
    assert found is not None and found.text is not None and found.status == status
    assert found.text(x).endswith("?q") and not x.uri_changed


def test_flags() -> None:
    last = (rewrite("^/a", "/b", "last"), text("no"))
    x = exchange("/a")
    assert done(x, *last) is None and x.relocate
    x = exchange("/a")
    assert done(x, rewrite("^/a", "/b", "break"), text("no")) is None
    assert not x.relocate and x.rewritten_in_place
    x = exchange("/a")
    assert done(x, rewrite("^/a", "/b"), rewrite("^/b", "/c"), Break(), text("no")) is None
    assert (x.uri, x.relocate, x.rewritten_in_place) == ("/c", False, True)
    x = exchange("/a")
    assert done(x, rewrite("^/z", "/b", "last"), text("yes")) == "yes"


def test_if_takes_its_settings_and_may_end_the_script() -> None:
    inner = Location(kind="if")
    names = Names()
    condition = compile_condition(["$arg_k"], names)
    x = exchange("/?k=1")
    assert done(x, If(condition, (), inner), text("after")) == "after" and x.location is inner
    assert done(x, If(condition, (text("inside"),), inner), text("after")) == "inside"
    assert done(x, If(condition, (Break(),), None), text("after")) is None
    assert done(exchange("/"), If(condition, (text("inside"),), None), text("after")) == "after"


def test_set() -> None:
    x = exchange("/a?b=1")
    names = Names()
    names.declare_set("v")
    values = [("v", "$uri"), ("args", "c=2&$args"), ("v", "$v!")]
    assert run(tuple(Set(name, compile_text(value, names)) for name, value in values), x) is None
    assert (x.variables["v"], x.args) == ("/a!", "c=2&b=1")
    for value, wanted in (("10", 10), ("2k", 2048), ("1M", 1048576), ("junk", None)):
        run((Set("limit_rate", compile_text(value, names)),), x)
        assert x.limit_rate == wanted


def test_an_empty_uri_is_a_fault() -> None:
    with pytest.raises(ProxyError, match="zero length"):
        run((rewrite("a", "$arg_none"),), exchange("/a"))
