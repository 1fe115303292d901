"""ngx_http_rewrite_module: conditions, rewrites, and running a script of them.

Rules:
- A script changes the exchange (`uri`, `args`, variables, captures, the location by `if`) and may end with a `Return`;
  `redirects` makes the response of it.
- A regular expression that matches sets $1 to $9; one that does not match clears them (ngx_http_script_regex_start_code).
- `exchange.relocate` is True after a rewrite changed the URI without a `break`: the location is then searched again.
- As in nginx, a rewritten request counts as internal, and its original URI is no longer used.
Source: ngx_http_rewrite_module; ngx_http_script.c for the order of evaluation.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..access import file_status
from ..config import Break, If, Return, Rewrite, Set
from ..errors import ConfigError, Fault, ProxyError
from ..variables import compile_regex, compile_text, take_captures

if TYPE_CHECKING:
    from ..config import Instruction, Location, Predicate, Template
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
            mode = file_status(exchange, path.encode("latin-1")).st_mode
        except (OSError, ValueError):
            return not self._wanted
        return self._test(mode) is self._wanted


def compile_condition(args: list[str], names: Names) -> Predicate:
    """Return the predicate for the arguments of an `if`. Raises ConfigError with nginx's message."""
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
    """Return a `rewrite`. The replacement is split at its `?` here, so that a `?` in a capture cannot split it.

    A replacement that begins with a scheme is a redirect. A `?` at its end drops the request's own arguments.
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
    """Perform a rewrite and return the `Return` of a redirect, else True if the script ends here."""
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
    if exchange.trace is not None:
        location = exchange.location_or_none
        where = "" if location is None or location.kind == "server" else f" in {f'{location.kind} {location.pattern}'.strip()}"
        exchange.why("rewrite", f"{exchange.uri} to {path}{where}" + (f", {flag}" if flag else ""))
    exchange.uri = path
    if args is not None:
        exchange.args = args
    elif not step.keep_args:
        exchange.args = ""
    return flag in ("last", "break")


_ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})")


def _unescape_redirect(path: str) -> str:
    """Decode escapes of characters that need none in a URI, up to a `?` (NGX_UNESCAPE_REDIRECT)."""
    if "%" not in path:
        return path

    def one(match: re.Match[str]) -> str:
        char = chr(int(match[1], 16))
        return char if "%" < char < "\x7f" else match[0]

    head, mark, tail = path.partition("?")
    return _ESCAPED.sub(one, head) + mark + tail


# --- running ----------------------------------------------------------------------------------------------------------------


class Branch:
    """An `if` with its compiled location; `location` is None if the `if` changes no setting."""

    __slots__ = ("compiled", "condition", "location", "place", "script")

    def __init__(self, step: If, compile_location: Callable[[Location], Any]) -> None:
        self.condition = step.condition
        self.script = compile_script(step.script, compile_location)
        self.location = step.location
        self.place = step.place
        self.compiled: Any = None if step.location is None else compile_location(step.location)


Step = Set | Rewrite | Return | Break | Branch
"""An instruction ready to run."""


def compile_script(script: tuple[Instruction, ...], compile_location: Callable[[Location], Any]) -> tuple[Step, ...]:
    """Return a script ready to run, with the location of each `if` compiled."""
    return tuple(Branch(step, compile_location) if isinstance(step, If) else step for step in script)


def run(script: tuple[Step, ...], exchange: Exchange) -> Return | None:
    """Run a script to its end, to a `break`, or to a `Return`, which is returned."""
    result = _run(script, exchange)
    return result if isinstance(result, Return) else None


def _run(script: tuple[Step, ...], exchange: Exchange) -> Return | bool:
    """Run a script and return its `Return`, else True if the whole script ends here."""
    for step in script:
        kind = type(step)
        if kind is Branch:
            assert isinstance(step, Branch)
            if step.condition(exchange):
                if exchange.trace is not None:
                    exchange.why("if", f"{step.place.file}:{step.place.line} holds")
                if step.location is not None:
                    exchange.location = step.location
                    exchange.compiled = step.compiled
                result = _run(step.script, exchange)
                if result is not False:
                    return result
        elif kind is Set:
            assert isinstance(step, Set)
            exchange.assign(step.name, step.value(exchange))
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
