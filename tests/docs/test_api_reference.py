"""docs/api.md: every public name is there, and every parameter has a description, with its unit where it is a time."""

from __future__ import annotations

import ast
import re
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import wsgi_proxy
from tests.support import ROOT
from wsgi_proxy import config, errors

PAGE = (ROOT / "docs" / "api.md").read_text()
NAMES = re.findall(r"^::: ([\w.]+)$", PAGE, re.M)
WITHOUT_PARAMETERS = {"CheckFailed"}
INTERNAL = {"Config"}
"""Public for annotations; nginx.load makes it."""


def resolved(name: str) -> Any:
    """The object of a dotted name, whose longest prefix is a module."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            module = import_module(".".join(parts[:length]))
        except ImportError:
            continue
        return reduce(getattr, parts[length:], module)
    raise AssertionError(name)


def source(found: Any) -> ast.ClassDef:
    """The class as it stands in its source, which is there in a compiled package too."""
    path = ROOT / (found.__module__.replace(".", "/") + ".py")
    if not path.exists():
        path = ROOT / found.__module__.replace(".", "/") / "__init__.py"
    tree = ast.parse(Path(path).read_text())
    return next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == found.__name__)


def parameters(function: ast.FunctionDef) -> dict[str, str]:
    """The parameters of a method and their annotations."""
    arguments = function.args
    every = [*arguments.args[1:], *arguments.kwonlyargs, *filter(None, [arguments.vararg, arguments.kwarg])]
    return {argument.arg: ast.unparse(argument.annotation) if argument.annotation else "" for argument in every}


def described(text: str | None) -> dict[str, str]:
    """The descriptions of a docstring's `Args:` section."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", text or "", re.S | re.M)
    return dict(re.findall(r"^    (\w+): (.+(?:\n        .+)*)", section[1], re.M)) if section else {}


def members(name: str) -> list[tuple[str, dict[str, str], str]]:
    """(name, parameters with annotations, docstring) of a documented class and of its listed methods."""
    node = source(resolved(name))
    methods = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
    if "__init__" in methods:
        own = parameters(methods["__init__"])
    else:
        own = {item.target.id: ast.unparse(item.annotation) for item in node.body if isinstance(item, ast.AnnAssign)}  # type: ignore[union-attr]
    found = [(node.name, own, ast.get_docstring(node) or "")]
    block = PAGE.split(f"::: {name}\n")[1].split("\n\n")[0]
    for method in re.findall(r"\w+", (re.search(r"members: \[(.*)\]", block) or ["", ""])[1]):
        if method in methods:
            found.append((f"{node.name}.{method}", parameters(methods[method]), ast.get_docstring(methods[method]) or ""))
    return found


def test_every_public_name_is_there() -> None:
    last = {name.rpartition(".")[2] for name in NAMES} | set(re.findall(r"`wsgi_proxy\.(?:config\.)?(\w+)`", PAGE))
    public = {name for module in (wsgi_proxy, config, errors) for name in module.__all__}
    assert public - INTERNAL <= last


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_described_with_its_unit(name: str) -> None:
    for member, own, text in members(name):
        told = described(text)
        assert list(told) == list(own), member
        assert own or member in WITHOUT_PARAMETERS or "." in member
        for parameter, annotation in own.items():
            if re.search(r"\bfloat\b", annotation):
                assert "seconds" in told[parameter], f"{member}({parameter})"
            assert told[parameter].endswith("."), f"{member}({parameter})"


def test_the_attributes_of_an_exchange_exist() -> None:
    from wsgi_proxy.cli.explain import environ_of
    from wsgi_proxy.exchange import Exchange

    rows = re.findall(r"^\| `(\w+)` \| `(\w+)", PAGE.split("### Attributes of an exchange")[1].split("\n## ")[0], re.M)
    exchange = Exchange.from_environ(environ_of("GET", "http://example.org/a?b", [], "127.0.0.1"))
    assert len(rows) == 9
    for name, kind in rows:
        assert type(getattr(exchange, name)).__name__ == kind, name


def test_a_policy_with_a_key_from_python() -> None:
    """The example in Policy's docstring."""
    example = re.search(r"`(Policy\(.*?\))`\.", ast.get_docstring(source(config.Policy)) or "")
    assert example is not None
    policy = eval(example[1], {"Policy": config.Policy})
    pool = wsgi_proxy.Pool(["127.0.0.1:3001", "127.0.0.1:3002"], policy=policy)

    class Request:
        tried = None
        environ: dict[str, str] = {}

        def __init__(self, uri: str) -> None:
            self.uri = uri

    chosen = {uri: {pool.lease(Request(uri)).peer.name for _ in range(4)} for uri in map(str, range(20))}  # type: ignore[arg-type]
    assert all(len(names) == 1 for names in chosen.values())
    assert len(set.union(*chosen.values())) == 2
