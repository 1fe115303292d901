"""setup.py: what is compiled, that compiling makes no other difference, and what happens where it cannot be."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

METADATA = ["pyproject.toml", "setup.py", "README.md", "LICENSE"]


def compiled_names() -> list[str]:
    spec = importlib.util.spec_from_file_location("setup_of_wsgi_proxy", ROOT / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    names: list[str] = module.COMPILED
    return names


NAMES = compiled_names()


def build(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """A wheel of a copy of the source."""
    shutil.copytree(ROOT / "wsgi_proxy", folder / "wsgi_proxy", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in METADATA:
        shutil.copy(ROOT / name, folder)
    command = [sys.executable, "setup.py", "--quiet", "bdist_wheel", "--dist-dir", "dist"]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environ}, capture_output=True, text=True, timeout=55)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_what_runs_is_what_was_compiled_or_nothing_is() -> None:
    """Half of it would mean that the tests try something that nobody gets."""
    endings = {name: Path(importlib.import_module(f"wsgi_proxy.{name}").__file__ or "").suffix for name in NAMES}
    assert len(set(endings.values())) == 1, endings
    everything = {path.stem for path in (ROOT / "wsgi_proxy").rglob("*.so")}
    assert {name.partition(".")[0] for name in everything} <= set(NAMES)


def test_asked_for_pure_python_it_compiles_nothing(tmp_path: Path) -> None:
    build(tmp_path, WSGI_PROXY_PURE="1")
    [wheel] = (tmp_path / "dist").glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")


def test_without_a_compiler_the_package_is_pure_python_and_one_line_says_so(tmp_path: Path) -> None:
    done = build(tmp_path, CC="/nonexistent/cc", WSGI_PROXY_PURE="0")
    assert "wsgi_proxy: no working C compiler: nothing is compiled" in done.stdout + done.stderr
    assert not list((tmp_path / "build").glob("lib*/**/*.so"))


@pytest.mark.parametrize("name", NAMES)
def test_a_slice_has_no_effect_of_its_own(name: str) -> None:
    """mypyc evaluates the bounds of a slice twice where it does not know what is sliced."""
    harmless = {"len", "find", "index", "end", "start"}
    for node in ast.walk(ast.parse((ROOT / f"wsgi_proxy/{name}.py").read_text())):
        if isinstance(node, ast.Slice):
            for call in (each for each in ast.walk(node) if isinstance(each, ast.Call)):
                called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
                assert called in harmless, f"{name}:{node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_copied_or_referred_to_weakly(name: str) -> None:
    """A compiled object has neither a dictionary of attributes to copy nor room for weak references."""
    for node in ast.walk(ast.parse((ROOT / f"wsgi_proxy/{name}.py").read_text())):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {"copy", "weakref", "pickle"} & set(modules), f"{name} imports {modules}"
        assert not (isinstance(node, ast.Attribute) and node.attr in ("__dict__", "__slots__")), f"{name}:{node.lineno}"


@pytest.mark.parametrize("name", NAMES)
def test_no_property_takes_an_attributes_place(name: str) -> None:
    """Compiled code reads an attribute where it lies, whatever a subclass makes of it. mypy wants a word on each of those."""
    text = (ROOT / f"wsgi_proxy/{name}.py").read_text()
    assert "ignore[override]" not in text
