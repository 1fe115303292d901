"""The compiler of templates: a text with $names becomes the code of one expression.

Rules:
- A piece is ("text", literal), ("name", lower case) or ("capture", digit). A node is (kind, expression), where the kind is the
  type of the value: "text" (a literal), "value" (a str) or "optional" (a str or None).
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


END = ("end", "")
"""The piece behind the last one of each text, where several become one tuple."""


def values_body(nodes: Nodes) -> ast.expr:
    """Return the expression of the tuple of several texts, each of which ends with the node of END."""
    values: list[ast.expr] = []
    text: Nodes = []
    for node in nodes:
        if node[0] != "end":
            text.append(node)
            continue
        values.append(text_body(text))
        text = []
    return ast.Tuple(values, ast.Load())


def text_body(nodes: Nodes) -> ast.expr:
    return _joined([ast.BoolOp(ast.Or(), [node, ast.Constant("")]) if kind == "optional" else node for kind, node in nodes])
