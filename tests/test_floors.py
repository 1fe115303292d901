"""The two rules of the house, read from the imports: imports go down only, and one third-party library has one room."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.support import ROOT

#: From the lowest up; a module may import from its own floor and from those below. `x*` covers the parts of a room.
FLOORS = [
    "build errors arguments headers logfile message* framing socket_ends stream* green uri ranges cachefields httpdate"
    " storedfields",
    "exchange variable* clock maps geo patterns links config health freshness preconditions zone* counts errorlog pages upload"
    " client_certificate destinations readahead tempfolder upkeep",
    "nginx* directives* routing locations redirects script accesslog autoindex"
    " peers rotation ranking resolve* balance* upstream* pool_arguments simple",
    "guard* access* auth passwords limit* cache* transport* wire* tunnel* tls* static*",
    "finishing warmup pacing detours retries forwarding forwarder connect probe* proxy* metrics status",
    "wsgi middleware",
    "worker* server*",
    "cli* __main__ explain echo demo cert forward",
]
#: Each third-party library, and the only rooms that may import it.
ROOMS = {
    "requests": "transport*",
    "urllib3": "transport*",
    "crossplane": "nginx* directives*",
    "cachecontrol": "cache*",
    "redis": "cache*",
    "gunicorn": "worker* server*",
    "werkzeug": "wsgi static_answer",
    "gevent": "stream green passwords worker*",
    "greenlet": "green worker*",
    "h2": "worker*",
    "bcrypt": "passwords",
    "OpenSSL": "tls_openssl",
    "cryptography": "tls_openssl cert",
    "mypy_extensions": "*",
}
PACKAGE = ROOT / "wsgi_proxy"
# The front door, __init__, names rooms of every floor, and runs none of them before it is asked: it stays out.
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
    if path != PACKAGE / "__init__.py"
}


def among(module: str, patterns: str) -> bool:
    return any(fnmatchcase(module, pattern) for pattern in patterns.split())


def floor(module: str) -> int:
    """The floor a module is on; an exact name goes before a pattern."""
    exact = [n for n, names in enumerate(FLOORS) if module in names.split()]
    found = exact or [n for n, names in enumerate(FLOORS) if among(module, names)]
    assert len(found) == 1, f"{module} is on the floors {found}: give it one in FLOORS"
    return found[0]


def imports(path: Path) -> Iterator[str]:
    """The absolute name of everything a module imports when it runs; what only a type checker reads is left out."""
    package = ["wsgi_proxy", *path.relative_to(PACKAGE).parent.parts]
    todo: list[ast.AST] = [ast.parse(path.read_bytes())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            yield from (".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names)
        else:
            todo += ast.iter_child_nodes(node)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_down_and_libraries_stay_in_their_room(module: str) -> None:
    for name in imports(MODULES[module]):
        top, _, rest = name.partition(".")
        if top == "wsgi_proxy":
            # "room.thing" or "room": the longest prefix that is a module.
            parts = rest.split(".")
            prefixes = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
            other = next((prefix for prefix in prefixes if prefix in MODULES), None)
            if other is not None:
                assert floor(other) <= floor(module), f"{module} imports {other}, which is on a floor above"
        elif top not in sys.stdlib_module_names:
            assert top in ROOMS, f"{module} imports {top}, which has no room yet"
            assert among(module, ROOMS[top]), f"{module} imports {top}, which belongs to {ROOMS[top]}"


@pytest.mark.parametrize("module", sorted(module for module, path in MODULES.items() if path.stem != "__init__"))
def test_every_module_has_its_own_test_file(module: str) -> None:
    name = module.removesuffix(".__main__").strip("_")
    names = {f"test_{name.replace('.', '_')}.py", f"test_{name.rpartition('.')[2]}.py"}
    assert any((ROOT / "tests" / name).exists() for name in names), f"{module} has no tests/{min(names)}"


def test_the_rules_see_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def named(text: str) -> list[str]:
        (tmp_path / "room.py").write_text(text)
        monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
        return sorted(imports(tmp_path / "room.py"))

    assert named("from . import a\nfrom .b import c\nimport d.e\ndef f():\n    from .g import h") == [
        "d.e", "wsgi_proxy.a", "wsgi_proxy.b.c", "wsgi_proxy.g.h"]  # fmt: skip
    assert named("if TYPE_CHECKING:\n    import x\nelse:\n    import y") == ["y"]
    assert floor("errors") < floor("nginx") < floor("cache") < floor("wsgi") < floor("worker") < floor("demo")
    assert floor("cachefields") == 0 and floor("cache_redis") == floor("cache")
