"""ARCHITECTURE.md: the request path that it describes is that of the code."""

from __future__ import annotations

import ast
import functools
import re

import pytest

from tests.support import ROOT

SECTION = (ROOT / "ARCHITECTURE.md").read_text().split("## The request path")[1].split("\n## ")[0]
STEPS = re.findall(r"^\| \d+ \| (.*?) \|", SECTION, re.M)
PACKAGE = ROOT / "wsgi_proxy"


def names() -> list[str]:
    """Return the names of classes and functions in the path, as written: `Proxy.respond`, `routing.Router.route`."""
    return [name for step in STEPS for name in re.findall(r"`([\w.]+)`", step) if "." in name]


@functools.cache
def defined() -> set[str]:
    """Return every function and method of the package, as `Class.method` or `function`."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            if isinstance(node, ast.ClassDef):
                found |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return found


def test_the_path_has_its_steps() -> None:
    assert len(STEPS) > 20 and len(names()) > 20


@pytest.mark.parametrize("name", sorted(set(names())))
def test_each_step_exists(name: str) -> None:
    parts = name.split(".")
    assert parts[-1] in defined() or ".".join(parts[-2:]) in defined(), name


def test_the_steps_of_the_walk_are_in_the_order_of_the_code() -> None:
    tree = ast.parse((PACKAGE / "proxy" / "proxy.py").read_bytes())
    walk = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "_walk")
    calls = [node.func.attr for node in ast.walk(walk) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    lines = {
        node.func.attr: (node.lineno, node.col_offset)
        for node in ast.walk(walk)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    named = [word for step in STEPS for word in (re.findall(r"`(?:[\w.]*\.)?(\w+)`", step)[:1])]
    common = [name for name in named if name in calls]
    assert common == ["choose_server", "enter", "route", "check_scheme", "heed", "admit", "try_files"]
    assert common == sorted(common, key=lines.__getitem__)


def test_the_named_test_files_exist() -> None:
    places = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    named = {name for path in places for name in re.findall(r"\btests/[a-z0-9_/]+\.py\b", path.read_text())}
    assert len(named) > 20
    assert not {name for name in named if not (ROOT / name).exists()}
