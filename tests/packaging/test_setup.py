"""setup.py: the compiled modules, the absence of other differences, and a build without a compiler."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
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


FAKE_MYPYC = """
from pathlib import Path
from setuptools import Extension
def mypycify(paths, **options):
    if not WORKS:
        raise SystemExit("mypyc ran")
    Path("made.c").write_text('#include <Python.h>\\nstatic struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "x"};'
                              'PyMODINIT_FUNC PyInit_wsgi_proxy__mypyc(void) { return PyModule_Create(&module); }')
    return [Extension("wsgi_proxy__mypyc", ["made.c"])]
"""


def copy_source(folder: Path) -> None:
    shutil.copytree(ROOT / "wsgi_proxy", folder / "wsgi_proxy", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in METADATA:
        shutil.copy(ROOT / name, folder)


def run(folder: Path, *command: str, works: bool = True, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a copy of the source, with a mypyc that makes one empty module at once, or that ends the process."""
    fake = folder / "fake"
    for package, text in (("mypy", ""), ("mypyc", FAKE_MYPYC.replace("WORKS", str(works)))):
        (fake / package).mkdir(parents=True, exist_ok=True)
        (fake / package / "__init__.py").touch()
        (fake / package / "build.py").write_text(text)
    env = {**os.environ, "PYTHONPATH": str(fake), "WSGI_PROXY_PURE": "0", **environ}
    done = subprocess.run([sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, timeout=55)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def build(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """A wheel of a copy of the source."""
    copy_source(folder)
    return run(folder, "setup.py", "--quiet", "bdist_wheel", "--dist-dir", "dist", **environ)


def contents(folder: Path) -> tuple[str, dict[str, bytes]]:
    """The wheel's name, and its files."""
    [wheel] = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return wheel.name, {name: archive.read(name) for name in archive.namelist()}


def test_what_runs_is_what_was_compiled_or_nothing_is() -> None:
    """A half-compiled package would mean that the tests run a build that no user gets."""
    modules = {name: importlib.import_module(f"wsgi_proxy.{name.replace('/', '.')}") for name in NAMES}
    endings = {name: Path(module.__file__ or "").suffix for name, module in modules.items()}
    assert len(set(endings.values())) == 1, endings
    everything = {path.relative_to(ROOT / "wsgi_proxy").as_posix() for path in (ROOT / "wsgi_proxy").rglob("*.so")}
    assert {name.partition(".")[0] for name in everything} <= set(NAMES)


def test_pure_python_on_request_compiles_nothing(tmp_path: Path) -> None:
    build(tmp_path, WSGI_PROXY_PURE="1")
    name, files = contents(tmp_path)
    assert name.endswith("-py3-none-any.whl")
    assert "wsgi_proxy/not_compiled.txt" not in files


def test_a_wheel_holds_what_was_compiled(tmp_path: Path) -> None:
    build(tmp_path)
    name, files = contents(tmp_path)
    assert "-none-any" not in name
    assert [name for name in files if name.startswith("wsgi_proxy__mypyc") and name.endswith(".so")]
    assert "wsgi_proxy/not_compiled.txt" not in files


def test_without_a_compiler_the_package_is_pure_python_and_knows_why(tmp_path: Path) -> None:
    done = build(tmp_path, CC="/nonexistent/cc")
    assert "wsgi_proxy: no working C compiler" in done.stdout + done.stderr
    name, files = contents(tmp_path)
    assert name.endswith("-py3-none-any.whl")  # pip shows this name in its normal output
    assert not [name for name in files if name.endswith(".so")]
    assert b"no working C compiler" in files["wsgi_proxy/not_compiled.txt"]


def test_without_mypy_the_package_is_pure_python_and_knows_why(tmp_path: Path) -> None:
    copy_source(tmp_path)
    hide = "import sys; sys.modules['mypyc.build'] = None; sys.argv[0] = 'setup.py'; import runpy; "
    run(tmp_path, "-c", hide + "runpy.run_path('setup.py', run_name='__main__')", "bdist_wheel", "--dist-dir", "dist")
    name, files = contents(tmp_path)
    assert name.endswith("-py3-none-any.whl")
    assert b"mypy is not installed" in files["wsgi_proxy/not_compiled.txt"]


def test_a_build_that_succeeds_forgets_the_failure_before_it(tmp_path: Path) -> None:
    build(tmp_path, CC="/nonexistent/cc")
    shutil.rmtree(tmp_path / "dist")
    run(tmp_path, "setup.py", "--quiet", "bdist_wheel", "--dist-dir", "dist")
    assert "wsgi_proxy/not_compiled.txt" not in contents(tmp_path)[1]


@pytest.mark.parametrize("command", [["--version"], ["egg_info"], ["sdist"]], ids=lambda words: words[0])
def test_mypyc_runs_only_where_something_is_built(command: list[str], tmp_path: Path) -> None:
    copy_source(tmp_path)
    run(tmp_path, "setup.py", "--quiet", *command, works=False)


def test_build_ext_in_place_still_compiles(tmp_path: Path) -> None:
    copy_source(tmp_path)
    run(tmp_path, "setup.py", "--quiet", "build_ext", "--inplace")
    assert len(list(tmp_path.glob("wsgi_proxy__mypyc*.so"))) == 1


def test_an_editable_install_stays_uncompiled(tmp_path: Path) -> None:
    copy_source(tmp_path)
    (tmp_path / "dist").mkdir()
    run(tmp_path, "-c", "from setuptools import build_meta; build_meta.build_editable('dist')", works=False)
    assert contents(tmp_path)[0]
    assert not list(tmp_path.rglob("*.so"))
    assert not list(tmp_path.rglob("not_compiled.txt"))


@pytest.mark.parametrize("name", NAMES)
def test_a_slice_has_no_effect_of_its_own(name: str) -> None:
    """mypyc evaluates the bounds of a slice twice if it does not know the sliced type."""
    harmless = {"len", "find", "index", "end", "start"}
    for node in ast.walk(ast.parse((ROOT / f"wsgi_proxy/{name}.py").read_text())):
        if isinstance(node, ast.Slice):
            for call in (each for each in ast.walk(node) if isinstance(each, ast.Call)):
                called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
                assert called in harmless, f"{name}:{node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_copied_or_referred_to_weakly(name: str) -> None:
    """A compiled object has neither a dictionary of attributes to copy and allows no weak references."""
    for node in ast.walk(ast.parse((ROOT / f"wsgi_proxy/{name}.py").read_text())):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {"copy", "weakref", "pickle"} & set(modules), f"{name} imports {modules}"
        assert not (isinstance(node, ast.Attribute) and node.attr in ("__dict__", "__slots__")), f"{name}:{node.lineno}"


@pytest.mark.parametrize("name", NAMES)
def test_no_property_takes_an_attributes_place(name: str) -> None:
    """Compiled code reads an attribute at its offset, even if a subclass overrides it. It would need a remark for mypy."""
    text = (ROOT / f"wsgi_proxy/{name}.py").read_text()
    assert "ignore[override]" not in text
