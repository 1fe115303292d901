"""Text with $names, compiled once into a function of an Exchange.

Rules:
- nginx lets a name be used before its definition, so text is compiled in two steps: `compile_text` checks the spelling and
  returns the function at once, and `Names.check` finds the names, when all are declared, and gives the function its code.
- A template is one plain function whose code is one expression: it reads values in place, looks nothing up by name and builds no
  list. Its attribute `constant` is the text if it has no variable, else None; `text` is the text as written.
- A name is looked up in this order: declared (`set`, captures, `map` and its kin), built in, by prefix (`arg_`, `http_`…). Case
  does not matter.
- None stands for nginx's "not found": "" in text, "-" in a log, and "" in a log with `escape=json` or `none`.
"""

from __future__ import annotations

import ast
import re
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..config import SourceLine
from ..errors import ConfigError, Fault
from ..http import escape_args
from ..logs import LogLine, RequestField
from . import absent, connection, request, response, tls, upstream, userid
from .compiler import END, Nodes, expression_code, parse, split, text_body, values_body

if TYPE_CHECKING:
    from ..config import Template
    from ..exchange import Exchange

_TABLES = (absent, request, response, connection, tls, upstream, userid)
"""The tables of built-in names, of which a later one goes before an earlier one."""


def _merged(kind: str) -> dict[str, Any]:
    return {name: row for table in _TABLES for name, row in getattr(table, kind, {}).items()}


TEXT: dict[str, str] = _merged("TEXT")
OPTIONAL: dict[str, str] = _merged("OPTIONAL")
# The longest prefix comes first: `upstream_http_` before `http_`.
PREFIXES = sorted(_merged("PREFIXES").items(), key=lambda row: -len(row[0]))
SETTABLE = {"args": "args", "limit_rate": "limit_rate"}
"""The built-in names that `set` may change, and the attribute of the Exchange behind each."""
CHANGEABLE = frozenset({"args", "limit_rate", "proxy_host", "proxy_port", "uid_reset"})

_LOOKED_UP = 1000
_CALL = re.compile(r"(\w+)\(x\)")
"""An expression that is a call of one function alone."""


def _prefixed(name: str) -> str | None:
    """Return the expression of a name that begins with `arg_`, `http_` or the like; None for another one."""
    for prefix, row in PREFIXES:
        if name.startswith(prefix):
            return str(row(name[len(prefix) :]))
    return None


class Names:
    """The variables of one configuration.

    `place` is the line that is being read. A text compiled now is reported there if one of its names turns out to be unknown.
    """

    def __init__(self, place: SourceLine | None = None) -> None:
        self.place = place or SourceLine()
        self._defined: dict[str, Callable[[Exchange], str]] = {}
        self._set: set[str] = set()
        self._captures: set[str] = set()
        self._texts: dict[str, Template] = {}
        self._looked_up: dict[str, Any] = {}
        self._pending: list[tuple[Any, list[tuple[str, str]], str, SourceLine]] = []
        self._globals: dict[str, Any] = {
            **{name: value for table in _TABLES for name, value in vars(table).items() if not name.startswith("__")},
            "capture": _capture,
            "quoted": _quoted,
            "cached": _cached,
            "late": self._late,
        }

    def define(self, name: str, function: Callable[[Exchange], str]) -> None:
        """Define a variable by a function. If the function's attribute `volatile` is false, it is called once per request.

        Raise ConfigError for a built-in name that cannot be changed.
        """
        name = self._checked(name)
        self._defined[name] = function
        self._globals[f"f_{name}"] = function

    def declare_set(self, name: str) -> None:
        """Declare a variable that `set` or `auth_request_set` fills, "" before."""
        name = self._checked(name)
        if name not in SETTABLE:
            self._set.add(name)

    def declare_captures(self, pattern: re.Pattern[str]) -> None:
        """Declare the named groups of a regular expression, "not found" before it matches."""
        for name in pattern.groupindex:
            self._captures.add(self._checked(name))

    @property
    def captures(self) -> frozenset[str]:
        """The names of groups in regular expressions, in lower case."""
        return frozenset(self._captures)

    def _checked(self, name: str) -> str:
        """Return the name in lower case. Raise ConfigError if it cannot be declared."""
        name = name.lower()
        if not re.fullmatch(r"[a-z0-9_]+", name):
            raise ConfigError(Fault(f'invalid variable name "${name}"', self.place.file, self.place.line))
        if name not in CHANGEABLE and (name in TEXT or name in OPTIONAL) and not name.startswith("http_"):
            raise ConfigError(Fault(f'the duplicate "{name}" variable', self.place.file, self.place.line))
        return name

    def expression(self, name: str) -> tuple[str, bool] | None:
        """Return (expression of x, True if it may give None) for a name in lower case, None for an unknown name."""
        if name in SETTABLE and name not in self._defined:
            pass
        elif name in self._set or name in self._captures:
            # A `map` of the same name gives the value until a `set` has run.
            function = self._defined.get(name)
            if function is not None:
                return f"cached(x, {name!r}, f_{name})", False
            optional = name not in self._set
            prefixed = _prefixed(name) if not optional else None
            if prefixed is not None:
                # Where no `set` has run, `$http_a` is the field again.
                return f"(x.variables[{name!r}] if {name!r} in x.variables else {prefixed})", True
            return (f"x.variables.get({name!r})" if optional else f"x.variables.get({name!r}, '')"), optional
        elif name in self._defined:
            if getattr(self._defined[name], "volatile", True):
                return f"f_{name}(x)", False
            return f"cached(x, {name!r}, f_{name})", False
        if name in TEXT:
            return TEXT[name], False
        if name in OPTIONAL:
            return OPTIONAL[name], True
        prefixed = _prefixed(name)
        return None if prefixed is None else (prefixed, True)

    def lookup(self, exchange: Exchange, name: str) -> str | None:
        """Return the value of a variable by its name in lower case, None if there is none; for names that requests bring."""
        function = self._looked_up.get(name)
        if function is None:
            found = self.expression(name)
            body = ast.Constant(None) if found is None else parse(found[0])
            function = types.FunctionType(expression_code(body), self._globals, "variable")
            if len(self._looked_up) >= _LOOKED_UP:
                self._looked_up.clear()
            self._looked_up[name] = function
        value: str | None = function(exchange)
        return value

    def getter(self, name: str) -> Template:
        """Return the variable alone as a template. `check` reports an unknown name."""
        return compile_text("${" + name + "}", self)

    def compile(
        self, text: str, escape: str = "", captures: bool = True, place: SourceLine | None = None, quoted: bool = False
    ) -> Template:
        """Return a template. `escape` is "" for text, or a log format's `default`, `json` or `none`.

        With `quoted`, captures are escaped for a query if the path of the request had escapes, as in a `rewrite`.
        """
        where = place or self.place
        cache_key = f"{escape}\0{quoted}\0{text}"
        known = self._texts.get(cache_key)
        if known is not None:
            return known
        pieces = split(text, captures, where)
        if quoted:
            pieces = [("quoted" if kind == "capture" else kind, value) for kind, value in pieces]
        function: Any
        if all(kind == "text" for kind, _ in pieces):
            constant = "".join(value for _, value in pieces)
            function = types.FunctionType(expression_code(ast.Constant(constant)), self._globals, "template")
            function.constant = constant
        else:
            number = len(self._pending)
            function = types.FunctionType(_unready.__code__, self._globals, "template", (number,))
            function.constant = None
            self._pending.append((function, pieces, escape, where))
        function.text = text
        self._texts[cache_key] = function
        return function  # type: ignore[no-any-return]

    def values(self, texts: list[str]) -> Callable[[Exchange], tuple[str, ...]]:
        """Return a function that gives the values of several texts with variables."""
        pieces = [piece for text in texts for piece in (*split(text, True, self.place), END)]
        function: Any = types.FunctionType(_unready.__code__, self._globals, "values", (len(self._pending),))
        self._pending.append((function, pieces, "", self.place))
        return function  # type: ignore[no-any-return]

    def check(self) -> None:
        """Give every template compiled so far its code. Raise ConfigError with each unknown name."""
        faults = []
        for number in range(len(self._pending)):
            faults += self._settle(number)
        if faults:
            raise ConfigError(*faults)

    def _late(self, number: int, exchange: Exchange) -> str:
        """Return the value of a template that was compiled after `check`, at its first call."""
        faults = self._settle(number)
        if faults:
            raise ConfigError(*faults)
        template: Template = self._pending[number][0]
        return template(exchange)

    def _settle(self, number: int) -> list[Fault]:
        function, pieces, escape, place = self._pending[number]
        if function.__defaults__ is None:
            return []
        nodes: Nodes = []
        getters: list[Callable[[Exchange], str | None]] = []
        faults = []
        for kind, value in pieces:
            if kind in ("text", "end"):
                nodes.append((kind, ast.Constant(value)))
            elif kind in ("capture", "quoted"):
                nodes.append(("optional", parse(f"{kind}(x, {value})")))
            else:
                found = self.expression(value)
                if found is None:
                    faults.append(Fault(f'unknown "{value}" variable', place.file, place.line or None))
                elif escape:
                    getters.append(self._function(value, found[0]))
                else:
                    nodes.append(("optional" if found[1] else "value", parse(found[0])))
        if not faults:
            if escape:
                write = f"write_{number}"
                texts = [value if kind == "text" else None for kind, value in pieces]
                self._globals[write] = LogLine(texts, getters, escape).write
                body = parse(f"{write}(x)")
            else:
                body = values_body(nodes) if END in pieces or not pieces else text_body(nodes)
            function.__code__ = expression_code(body)
            function.__defaults__ = None
        return faults

    def _function(self, name: str, expression: str) -> Callable[[Exchange], str | None]:
        """Return a variable as a function: the one that its expression is a call of, or one made of the expression."""
        call = _CALL.fullmatch(expression)
        if call is not None:
            function: Callable[[Exchange], str | None] = self._globals[call[1]]
            return function
        made: Callable[[Exchange], str | None] = types.FunctionType(expression_code(parse(expression)), self._globals, "variable")
        if name.startswith("http_") and expression == request.PREFIXES["http_"](name[5:]):
            return RequestField("HTTP_" + name[5:].upper(), made)
        return made


def compile_text(text: str, names: Names, place: SourceLine | None = None) -> Template:
    """Return `text` as a function of an Exchange. It may use `$name`, `${name}` and `$1` to `$9`. Raise ConfigError for bad
    syntax.
    """
    return names.compile(text, place=place)


def compile_log(text: str, names: Names, escape: str = "default", place: SourceLine | None = None) -> Template:
    """Return a log format as a function of an Exchange. Values are escaped as `escape` says."""
    if escape not in ("default", "json", "none"):
        raise ConfigError(Fault(f'unknown log format escaping "{escape}"', names.place.file, names.place.line or None))
    return names.compile(text, escape=escape, captures=False, place=place)


# --- functions that templates call ------------------------------------------------------------------------------------------


def _capture(exchange: Exchange, number: int) -> str | None:
    captures = exchange.captures
    return captures[number] if number < len(captures) else None


def _quoted(exchange: Exchange, number: int) -> str | None:
    """Return a capture for a query, escaped again if the request's path had escapes (ngx_http_script_copy_capture_code)."""
    value = _capture(exchange, number)
    if value:
        path = exchange.target.partition("?")[0]
        if "%" in path or "+" in path:
            return escape_args(value)
    return value


def _cached(exchange: Exchange, name: str, function: Callable[[Exchange], str]) -> str:
    """Return the value of a map or its kin, computed once per request."""
    variables = exchange.variables
    value = variables.get(name)
    if value is None:
        value = variables[name] = function(exchange)
    return value


def _unready(exchange: Exchange, number: int = 0) -> str:
    """The code of a template before its names are known. `late` is a name in the template's globals."""
    return late(number, exchange)  # type: ignore[name-defined,no-any-return]  # noqa: F821
