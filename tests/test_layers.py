"""The layers of the package, read from its imports. A broken rule fails here with the import that breaks it.

Rules:
- A package imports only packages on a lower line of LAYERS. Imports for the type checker alone may also name `config`,
  `exchange` and `response`, the vocabularies that every package shares.
- Another package's modules are private. Others import the names and modules in its `__all__`, and those that its `__init__`
  imports as `name as name`, which are for the other packages and not for users. Inside a package, modules import each other
  freely. A sub-package is entered by its `__init__`, too.
- An `__init__` holds a docstring, imports, `__all__` and at most a lazy `__getattr__` (PEP 562).
- Each third-party library belongs to the packages that LIBRARIES names.
- A directory holds at most 14 modules, and `tests/` mirrors the packages.
- A module has at most 300 lines, a function 60.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import ROOT

#: From the lowest up. A name is a package or a module beside the packages.
LAYERS = [
    "errors build clocks",
    "config http",
    "arrival phases",
    "exchange response",
    "gateway logs net shm tls",
    "cluster tracing",
    "balance keyval limits",
    "access transport upstream worker",
    "cache status tunnel variables",
    "filters routing",
    "nginx static",
    "proxy",
    "server wsgi",
    "cli",
    "__main__",
]
#: Each third-party library and the packages that may import it.
LIBRARIES = {
    "requests": "transport tracing",
    "urllib3": "transport",
    "crossplane": "nginx",
    "cachecontrol": "cache",
    "redis": "cache cluster",
    "gunicorn": "worker server",
    "h2": "worker",
    "werkzeug": "wsgi static",
    "gevent": "net worker access",
    "greenlet": "net worker",
    "bcrypt": "access",
    "brotli": "filters",
    "isal": "filters",
    "zlib_ng": "filters",
    "OpenSSL": "tls",
    "cryptography": "tls cli",
    "opentelemetry": "tracing",
    "grpc": "tracing",
    "mypy_extensions": "*",
}
#: Names that an import for the type checker alone may use from any layer.
VOCABULARY = ("config", "exchange", "response")
MOST_MODULES = 14
MOST_LINES = 300
MOST_LINES_OF_A_FUNCTION = 60
#: The configuration model is one table, and easier to search in one file.
LONG = ("config.model",)
#: A directive is a row in one of many small tables; a directory full of them is easy to search.
CROWDED = ("nginx/directives",)
#: Sub-packages that their parent reads module by module.
OPEN = ("nginx.directives",)
PACKAGE = ROOT / "wsgi_proxy"
# The front door names packages of every layer and imports none of them before it is asked.
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path != PACKAGE / "__init__.py"
}


class Import(NamedTuple):
    """One imported name: `source` is the absolute module that the statement names, without `wsgi_proxy.` where it is ours."""

    source: str
    name: str
    ours: bool
    typing_only: bool


def imports(path: Path) -> Iterator[Import]:
    """Yield everything that a module imports."""
    package = [] if path.parent == PACKAGE else list(path.relative_to(PACKAGE).parent.parts)
    todo: list[tuple[ast.AST, bool]] = [(ast.parse(path.read_bytes()), False)]
    while todo:
        node, typing_only = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += [(each, True) for each in node.body] + [(each, typing_only) for each in node.orelse]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                top, _, rest = alias.name.partition(".")
                yield Import(rest if top == "wsgi_proxy" else alias.name, "", top == "wsgi_proxy", typing_only)
        elif isinstance(node, ast.ImportFrom):
            named = (node.module or "").split(".") if node.module else []
            ours = node.level > 0 or named[:1] == ["wsgi_proxy"]
            base = [*package[: len(package) - node.level + 1], *named] if node.level else named[1:] if ours else named
            yield from (Import(".".join(base), alias.name, ours, typing_only) for alias in node.names)
        else:
            todo += [(child, typing_only) for child in ast.iter_child_nodes(node)]


def layer(package: str) -> int:
    """Return the line of LAYERS that names a package."""
    found = [n for n, names in enumerate(LAYERS) if package in names.split()]
    assert len(found) == 1, f"{package} is on the lines {found}: name it once in LAYERS"
    return found[0]


def packages_between(module: str, imported: Import) -> tuple[str, str]:
    """Return the top-level packages (or modules) at both ends of an import within the product."""
    target = imported.source or imported.name
    return module.partition(".")[0], target.partition(".")[0]


def directory(module: str) -> str:
    """Return the dotted package of a module; "" beside the packages."""
    return module.rpartition(".")[0]


def exported(package: str) -> set[str]:
    """Return the names that a package offers: `__all__` for everyone, `name as name` for the other packages of the product."""
    found: set[str] = set()
    for node in ast.parse((PACKAGE / package.replace(".", "/") / "__init__.py").read_bytes()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            found |= set(ast.literal_eval(node.value))
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names if alias.name == alias.asname}
    return found


def is_package(name: str) -> bool:
    return bool(name) and (PACKAGE / name.replace(".", "/") / "__init__.py").exists()


def entered_properly(module: str, imported: Import) -> bool:
    """Return True if an import respects the privacy of the package that it enters."""
    here, source = directory(module), imported.source
    enclosing = source if is_package(source) else directory(source)
    if f"{here}.".startswith(f"{enclosing}.") or not enclosing or enclosing in OPEN and here.startswith("nginx"):
        return True  # a sibling, or a module of an enclosing package
    if is_package(source):
        return imported.name in exported(source)
    # A public module of a package: `from ..net.gevent_stream import GreenStream`.
    return source.rpartition(".")[2] in exported(enclosing)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_down_and_enter_packages_by_their_public_names(module: str) -> None:
    for imported in imports(MODULES[module]):
        if imported.ours:
            here, there = packages_between(module, imported)
            if here == there or imported.source == "" and imported.name == "__version__":
                continue
            allowed = layer(there) < layer(here) or imported.typing_only and there in VOCABULARY
            assert allowed, f"{module} imports {imported.name} from {imported.source}, which is not below it"
            assert entered_properly(module, imported), f"{imported.name} is private to {imported.source}; {module} imports it"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_subpackages_are_entered_by_their_public_names(module: str) -> None:
    for imported in imports(MODULES[module]):
        if imported.ours and module.partition(".")[0] == imported.source.partition(".")[0]:
            assert entered_properly(module, imported), f"{imported.name} is private to {imported.source}; {module} imports it"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_each_library_stays_in_its_packages(module: str) -> None:
    for imported in imports(MODULES[module]):
        top = imported.source.partition(".")[0]
        if not imported.ours and top not in sys.stdlib_module_names and not imported.typing_only:
            assert top in LIBRARIES, f"{module} imports {top}, which LIBRARIES gives to no package"
            homes = LIBRARIES[top].split()
            assert homes == ["*"] or module.partition(".")[0] in homes, f"{module} imports {top}, which belongs to {homes}"


@pytest.mark.parametrize("package", sorted(module for module in MODULES if module.endswith("__init__")))
def test_an_init_has_no_logic(package: str) -> None:
    if package.removesuffix(".__init__") in OPEN:
        return
    for node in ast.parse(MODULES[package].read_bytes()).body:
        allowed = isinstance(node, ast.Import | ast.ImportFrom | ast.Expr | ast.If | ast.Assign)
        assert allowed or isinstance(node, ast.FunctionDef) and node.name == "__getattr__", f"{package}: {ast.unparse(node)}"
        assert not isinstance(node, ast.FunctionDef) or len(ast.unparse(node).splitlines()) <= 8, package


def test_no_directory_is_crowded() -> None:
    for folder in {path.parent for path in MODULES.values()}:
        names = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
        where = folder.relative_to(PACKAGE).as_posix()
        assert len(names) <= MOST_MODULES or where in CROWDED, f"{where} has {len(names)} modules"


def long_parts(name: str, text: str) -> list[str]:
    """Return the excesses of a module's text: the module, and each function, with its number of lines."""
    lines = text.count("\n")
    found = [f"{name} has {lines} lines"] if lines > MOST_LINES and name not in LONG else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            count = (node.end_lineno or node.lineno) - node.lineno + 1
            found += [f"{name}.{node.name} has {count} lines"] * (count > MOST_LINES_OF_A_FUNCTION)
    return found


def test_modules_and_functions_are_short() -> None:
    found = [part for module, path in MODULES.items() for part in long_parts(module, path.read_text())]
    assert not found, f"split at a natural seam: {', '.join(found)}"


def test_the_limits_of_length_see_a_fault() -> None:
    long = "def f():\n" + "    x = 1\n" * MOST_LINES_OF_A_FUNCTION
    assert long_parts("m", long) == ["m.f has 61 lines"]
    assert long_parts("m", f"class C:\n    async {long}".replace("\n    x", "\n        x")) == ["m.f has 61 lines"]
    assert long_parts("m", "x = 1\n" * 301) == ["m has 301 lines"]
    assert long_parts("m", "x = 1\n" * 300) == long_parts("config.model", "x = 1\n" * 301) == []


@pytest.mark.parametrize("module", sorted(module for module in MODULES if not module.endswith(("__init__", "__main__"))))
def test_every_module_has_its_test_file(module: str) -> None:
    where, _, name = module.rpartition(".")
    path = ROOT / "tests" / where.replace(".", "/") / f"test_{name}.py"
    assert path.exists(), f"{module} has no {path.relative_to(ROOT)}"


def test_the_rules_see_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def seen(text: str) -> list[Import]:
        (tmp_path / "net").mkdir(exist_ok=True)
        (tmp_path / "net" / "some.py").write_text(text)
        monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
        return list(imports(tmp_path / "net" / "some.py"))

    assert sorted(seen("from ..http import x\nimport wsgi_proxy.cli")) == [
        Import("cli", "", True, False),
        Import("http", "x", True, False),
    ]
    assert seen("if TYPE_CHECKING:\n    from ..exchange import E") == [Import("exchange", "E", True, True)]
    assert seen("def f():\n    from .stream import S") == [Import("net.stream", "S", True, False)]
    monkeypatch.undo()
    assert layer("errors") < layer("exchange") < layer("transport") < layer("proxy") < layer("cli")
    # A private name, a private module, a public name, a public module, a sibling.
    assert not entered_properly("proxy.proxy", Import("cache", "VaryIndexes", True, False))
    assert not entered_properly("proxy.proxy", Import("cache.storage.files", "FileStorage", True, False))
    assert entered_properly("proxy.proxy", Import("cache", "Cache", True, False))
    assert entered_properly("worker.socket", Import("net.gevent_stream", "GreenStream", True, False))
    assert entered_properly("cache.storage.files", Import("cache.zone", "ZoneCache", True, False))
