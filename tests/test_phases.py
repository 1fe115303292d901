"""The table of phases, compared with the assignments in the code."""

from __future__ import annotations

import ast

from tests.support import ROOT
from wsgi_proxy.phases import PHASES


def written(tree: ast.AST) -> set[tuple[str, int]]:
    """Return (attribute, line) of every assignment to an attribute of an exchange, which the code calls by one of these names."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if ast.unparse(node.value) in ("exchange", "x", "self._x", "self._exchange", "self.exchange"):
                found.add((node.attr, node.lineno))
    return found


def test_each_attribute_is_written_in_its_phase() -> None:
    used: set[tuple[str, str]] = set()
    for path in (ROOT / "wsgi_proxy").rglob("*.py"):
        package = path.relative_to(ROOT / "wsgi_proxy").parts[0]
        if package in ("arrival.py", "exchange.py"):
            continue
        for name, line in written(ast.parse(path.read_bytes())):
            phases = {phase for phase, (writers, names) in PHASES.items() if name in names.split() and package in writers.split()}
            assert phases, f"{path}:{line} writes {name} outside its phase"
            used |= {(phase, package) for phase in phases}
    assert used >= {(phase, writer) for phase, (writers, _) in PHASES.items() for writer in writers.split()}


def test_the_check_of_writers_sees_every_form() -> None:
    text = "x.a = 1\nexchange.b, other = 1, 2\nx.c += 1\nself._x.d: int = 1\nother.e = x.f"
    assert {name for name, _ in written(ast.parse(text))} == {"a", "b", "c", "d"}
