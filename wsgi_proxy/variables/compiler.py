"""The compiler of templates: a text with $names becomes the code of one expression.

Rules:
- A piece is ("text", literal), ("name", lower case) or ("capture", digit). A node is (kind, expression), where the kind is the
  type of the value: "text" (a literal), "value" (a str) or "optional" (a str or None).
- A log line is first written without escapes and tested as a whole, because four tests of one string cost less than one regular
  expression for each value. Only a line that may need escapes is written again, value by value.
- Code is made of syntax trees, never of source text with parts of a configuration in it.
"""

from __future__ import annotations

import ast
import re
import types
from typing import TYPE_CHECKING

from ..errors import ConfigError, Fault

if TYPE_CHECKING:
    from ..config import SourceLine

_PIECE = re.compile(r"\$(?:([1-9])|\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))|([^$]+)|(\$\{[A-Za-z0-9_]*)|(\$)")
_LOG_SPECIAL = re.compile(r'["\\\x00-\x1f\x7f-\xff]')
_JSON_SPECIAL = re.compile(r'["\\\x00-\x1f]')
_JSON_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
Nodes = list[tuple[str, ast.expr]]


def split(text: str, captures: bool, place: SourceLine) -> list[tuple[str, str]]:
    """Return the pieces of a text with variables: [("text", literal) | ("name", lower case) | ("capture", digit)]."""
    pieces: list[tuple[str, str]] = []
    line = place.line or None
    for match in _PIECE.finditer(text):
        digit, braced, bare, literal, unclosed, dollar = match.groups()
        if unclosed is not None and unclosed != "${":
            raise ConfigError(Fault(f'the closing bracket in "{unclosed[2:]}" variable is missing', place.file, line))
        if dollar or unclosed:
            raise ConfigError(Fault("invalid variable name", place.file, line))
        if literal is not None:
            pieces.append(("text", literal))
        elif digit is not None and captures:
            pieces.append(("capture", digit))
        else:
            pieces.append(("name", (braced or bare or digit).lower()))
    return pieces


def parse(source: str) -> ast.expr:
    return ast.parse(source, mode="eval").body


def expression_code(body: ast.expr) -> types.CodeType:
    """Return the code of `lambda x: body`."""
    arguments = ast.arguments(
        posonlyargs=[], args=[ast.arg("x")], vararg=None, kwonlyargs=[], kw_defaults=[], kwarg=None, defaults=[]
    )
    tree = ast.fix_missing_locations(ast.Expression(ast.Lambda(arguments, body)))
    code = compile(tree, "<template>", "eval")
    return next(part for part in code.co_consts if isinstance(part, types.CodeType))


def _joined(parts: list[ast.expr]) -> ast.expr:
    if len(parts) == 1:
        return parts[0]
    values: list[ast.expr] = [part if isinstance(part, ast.Constant) else ast.FormattedValue(part, -1, None) for part in parts]
    return ast.JoinedStr(values)


def _call(name: str, value: ast.expr) -> ast.expr:
    return ast.Call(ast.Name(name, ast.Load()), [value], [])


def _local() -> ast.expr:
    return ast.Name("v", ast.Load())


def text_body(nodes: Nodes) -> ast.expr:
    return _joined([ast.BoolOp(ast.Or(), [node, ast.Constant("")]) if kind == "optional" else node for kind, node in nodes])


def _dashed(node: ast.expr, present: ast.expr) -> ast.expr:
    """Return the node of `"-" if (v := node) is None else present`, where `present` may use `v`."""
    bound = ast.NamedExpr(ast.Name("v", ast.Store()), node)
    return ast.IfExp(ast.Compare(bound, [ast.Is()], [ast.Constant(None)]), ast.Constant("-"), present)


def log_body(nodes: Nodes, escape: str) -> ast.expr:
    """Return the node of a log line. With escaping, the line is written again if it may need escapes."""
    missing = "-" if escape == "default" else ""
    escaper = "escape_json" if escape == "json" else "escape_log"

    def plain(kind: str, node: ast.expr) -> ast.expr:
        if kind != "optional":
            return node
        return ast.BoolOp(ast.Or(), [node, ast.Constant("")]) if missing == "" else _dashed(node, _local())

    def careful(kind: str, node: ast.expr) -> ast.expr:
        if kind == "text":
            return node
        if kind == "value":
            return _call(escaper, node)
        return _dashed(node, _call(escaper, _local())) if missing else _call(escaper, plain(kind, node))

    fast = _joined([plain(kind, node) for kind, node in nodes])
    if escape == "none":
        return fast
    slow = _joined([careful(kind, node) for kind, node in nodes])
    literal = "".join(str(node.value) for kind, node in nodes if kind == "text" and isinstance(node, ast.Constant))
    if _LOG_SPECIAL.search(literal.replace('"', "")):
        return slow
    quotes = literal.count('"')
    clean = parse(f"w.isascii() and w.isprintable() and '\\\\' not in w and w.count('\"') == {quotes}")
    clean.values.insert(0, ast.NamedExpr(ast.Name("w", ast.Store()), fast))  # type: ignore[attr-defined]
    # In `(w := line) and …` an empty line needs no escapes, whichever branch gives it.
    return ast.IfExp(clean, ast.Name("w", ast.Load()), slow)


def escape_log(value: str) -> str:
    r"""Return a value as `escape=default` writes it: `"`, `\` and bytes that do not print as \xXX."""
    return _LOG_SPECIAL.sub(lambda match: f"\\x{ord(match[0]):02X}", value)


def escape_json(value: str) -> str:
    """Return a value as `escape=json` writes it inside a JSON string."""
    return _JSON_SPECIAL.sub(lambda match: _JSON_SHORT.get(match[0]) or f"\\u{ord(match[0]):04X}", value)
