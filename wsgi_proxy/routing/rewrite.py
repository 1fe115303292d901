"""ngx_http_rewrite_module: conditions, rewrites, and running a script of them.

Rules:
- A script changes the exchange (`uri`, `args`, variables, captures, `location` by `if`) and may end with a `Return`; what that
  answers is said in `redirects`.
- A regular expression that does not match takes $1 to $9 away; one that matches sets them (ngx_http_script_regex_start_code).
- `x.relocate` says that a rewrite changed the URI and no `break` kept it here: the location is then looked for again.
- As in nginx, a rewritten request counts as internal, and the URI it had on the wire is forgotten.
Source: ngx_http_rewrite_module's documentation; ngx_http_script.c for the order of things.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..config import Break, If, Return, Rewrite, Set
from ..errors import ConfigError, Fault, ProxyError
from ..variables import SETTABLE, compile_regex, compile_text, take_captures

if TYPE_CHECKING:
    from ..config import Instruction, Predicate, Template
    from ..exchange import Exchange
    from ..variables import Names

_URL = re.compile(r"https?://|\$scheme")

# --- conditions -------------------------------------------------------------------------------------------------------------


def _bad(message: str) -> ConfigError:
    return ConfigError(Fault(message))


class Truth:
    """`if ($name)`: neither empty nor "0"."""

    __slots__ = ("_value",)

    def __init__(self, value: Template) -> None:
        self._value = value

    def __call__(self, exchange: Exchange) -> bool:
        return self._value(exchange) not in ("", "0")


class Equal:
    """`if ($name = text)` and `!=`."""

    __slots__ = ("_left", "_right", "_wanted")

    def __init__(self, left: Template, right: Template, wanted: bool) -> None:
        self._left = left
        self._right = right
        self._wanted = wanted

    def __call__(self, exchange: Exchange) -> bool:
        return (self._left(exchange) == self._right(exchange)) is self._wanted


class Matches:
    """`if ($name ~ regex)` and `~*`, `!~`, `!~*`."""

    __slots__ = ("_regex", "_value", "_wanted")

    def __init__(self, value: Template, regex: re.Pattern[str], wanted: bool) -> None:
        self._value = value
        self._regex = regex
        self._wanted = wanted

    def __call__(self, exchange: Exchange) -> bool:
        match = self._regex.search(self._value(exchange))
        if match is None:
            exchange.captures = ()
        else:
            take_captures(exchange, match)
        return (match is not None) is self._wanted


_FILE_TESTS: dict[str, Callable[[int], bool]] = {
    "f": stat.S_ISREG,
    "d": stat.S_ISDIR,
    "e": lambda mode: True,
    "x": lambda mode: bool(mode & stat.S_IXUSR),
}


class FileTest:
    """`if (-f path)` and `-d`, `-e`, `-x`, each with `!`."""

    __slots__ = ("_path", "_test", "_wanted")

    def __init__(self, path: Template, letter: str, wanted: bool) -> None:
        self._path = path
        self._test = _FILE_TESTS[letter]
        self._wanted = wanted

    def __call__(self, exchange: Exchange) -> bool:
        path = os.path.join(exchange.prefix, self._path(exchange))
        try:
            mode = os.stat(path.encode("latin-1")).st_mode
        except (OSError, ValueError):
            return not self._wanted
        return self._test(mode) is self._wanted


def compile_condition(args: list[str], names: Names) -> Predicate:
    """What stands between the parentheses of an `if`, as a function of an Exchange; ConfigError in nginx's words."""
    first = args[0]
    if len(first) > 1 and first.startswith("$"):
        return _variable_condition(first, args, names)
    match = re.fullmatch(r"(!?)-([fdex])", first)
    if match is None:
        raise _bad(f'invalid condition "{first}"')
    if len(args) != 2:
        raise _bad(f'invalid condition "{args[-1]}"')
    return FileTest(compile_text(args[1], names), match[2], not match[1])


def _variable_condition(first: str, args: list[str], names: Names) -> Predicate:
    variable = names.getter(first.removeprefix("$").removeprefix("{").removesuffix("}"))
    if len(args) == 1:
        return Truth(variable)
    if len(args) != 3:
        raise _bad(f'invalid condition "{args[-1]}"')
    operator, operand = args[1:]
    if operator in ("=", "!="):
        return Equal(variable, compile_text(operand, names), operator == "=")
    if operator in ("~", "~*", "!~", "!~*"):
        regex = compile_regex(operand, operator.endswith("*"))
        names.declare_captures(regex)
        return Matches(variable, regex, not operator.startswith("!"))
    raise _bad(f'unexpected "{operator}" in condition')


# --- rewrites ---------------------------------------------------------------------------------------------------------------


def compile_rewrite(regex: re.Pattern[str], replacement: str, flag: str, names: Names) -> Rewrite:
    """`rewrite regex replacement [flag]`: the replacement split at its `?`, so that what a capture holds cannot split it.

    A replacement that begins with a scheme is a redirect; a `?` at its end drops the request's own arguments.
    """
    if _URL.match(replacement) and flag != "permanent":
        flag = "redirect"
    keep_args = not replacement.endswith("?")
    path, mark, args = replacement.removesuffix("?").partition("?")
    return Rewrite(
        regex,
        names.compile(path, quoted=flag in ("redirect", "permanent")),
        flag,
        names.compile(args, quoted=True) if mark else None,
        keep_args,
    )


def _rewrite(exchange: Exchange, step: Rewrite) -> Return | bool:
    """Perform a rewrite: a `Return` for a redirect, else whether the script ends here."""
    match = step.regex.search(exchange.uri)
    if match is None:
        exchange.captures = ()
        return False
    take_captures(exchange, match)
    flag = step.flag
    redirect = flag in ("redirect", "permanent")
    if not redirect:
        exchange.internal = exchange.uri_changed = True
        exchange.relocate = flag != "break"
        if flag == "break":
            exchange.rewritten_in_place = True
    path = step.replacement(exchange)
    args = None if step.arguments is None else step.arguments(exchange)
    if step.keep_args and exchange.args:
        args = exchange.args if args is None else f"{args}&{exchange.args}"
    if redirect:
        path = _unescape_redirect(path)
        target = path if args is None else f"{path}?{args}"
        return Return(301 if flag == "permanent" else 302, lambda _: target)
    if not path:
        raise ProxyError("the rewritten URI has a zero length")
    exchange.uri = path
    if args is not None:
        exchange.args = args
    elif not step.keep_args:
        exchange.args = ""
    return flag in ("last", "break")


_ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})")


def _unescape_redirect(path: str) -> str:
    """Escapes of characters that need none in a URI are undone, as far as a `?` (NGX_UNESCAPE_REDIRECT)."""
    if "%" not in path:
        return path

    def one(match: re.Match[str]) -> str:
        char = chr(int(match[1], 16))
        return char if "%" < char < "\x7f" else match[0]

    head, mark, tail = path.partition("?")
    return _ESCAPED.sub(one, head) + mark + tail


# --- running ----------------------------------------------------------------------------------------------------------------


def run(script: tuple[Instruction, ...], exchange: Exchange) -> Return | None:
    """Run a script to its end, a `break`, or a `Return`, which is given back."""
    result = _run(script, exchange)
    return result if isinstance(result, Return) else None


def _run(script: tuple[Instruction, ...], exchange: Exchange) -> Return | bool:
    """A `Return`, or whether the whole script ends here."""
    for step in script:
        kind = type(step)
        if kind is If:
            assert isinstance(step, If)
            if step.condition(exchange):
                if step.location is not None:
                    exchange.location = step.location
                result = _run(step.script, exchange)
                if result is not False:
                    return result
        elif kind is Set:
            assert isinstance(step, Set)
            _set(exchange, step.name, step.value(exchange))
        elif kind is Return:
            assert isinstance(step, Return)
            return step
        elif kind is Rewrite:
            assert isinstance(step, Rewrite)
            result = _rewrite(exchange, step)
            if result is not False:
                return result
        else:
            assert isinstance(step, Break)
            if exchange.relocate:
                exchange.relocate = False
                exchange.rewritten_in_place = True
            return True
    return False


def _set(exchange: Exchange, name: str, value: str) -> None:
    """`set`: most names live in `x.variables`; a few change the exchange itself."""
    if name in SETTABLE:
        if name == "args":
            exchange.args = value
            exchange.uri_changed = True
        else:
            exchange.limit_rate = _size(value)
    else:
        exchange.variables[name] = value


def _size(value: str) -> int | None:
    """Bytes of a size such as `10k`; what is none is ignored, as nginx does."""
    match = re.fullmatch(r"(\d+)([kKmM]?)", value, re.ASCII)
    if match is None:
        return None
    return int(match[1]) * {"": 1, "k": 1024, "m": 1024 * 1024}[match[2].lower()]
