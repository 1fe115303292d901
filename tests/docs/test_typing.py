"""The public names and their types: `__all__`, and the documentation's examples under type checkers."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

PUBLIC = {
    "wsgi_proxy": {
        "CheckFailed", "Config", "ConfigError", "HealthCheck", "Pool", "Proxy", "ProxyApp", "ProxyMiddleware", "Server",
    },
    "wsgi_proxy.config": {"Config", "HealthCheck", "Policy", "ProxyTarget", "Server", "Sticky"},
    "wsgi_proxy.errors": {"CheckFailed", "ConfigError", "Fault"},
}  # fmt: skip
MORE = """
from wsgi_proxy import Pool, Proxy, ProxyMiddleware
from wsgi_proxy.config import Policy, ProxyTarget

app: Proxy = Proxy.from_nginx("nginx.conf")
legacy: ProxyTarget = {"target": "http://127.0.0.1:3001", "host": None, "headers": {"X-A": "b"}, "remove_prefix": True}
mounted = ProxyMiddleware(app, {"/legacy/": legacy, "/other/": "http://127.0.0.1:3002"}, timeout=2)
by_key = Pool(["https://127.0.0.1:3001"], Policy("hash", key=lambda exchange: exchange.host), verify="ca.pem")
mounted.close()
"""
FAULTS = """
from wsgi_proxy import Pool, Proxy, ProxyMiddleware, Server
app = Proxy(Pool(["http://a"]))
ProxyMiddleware(app, {"/x/": {"target": "http://a", "hots": None}})
ProxyMiddleware(app, {"/x/": {"target": 5}})
ProxyMiddleware(app, {"/x/": {"remove_prefix": True}})
Server("http://a", weight="x")
Proxy("nginx.conf")
"""


@pytest.mark.parametrize("module", PUBLIC)
def test_the_public_names_are_there_and_no_others(module: str) -> None:
    found = importlib.import_module(module)
    assert set(found.__all__) == PUBLIC[module]
    for name in found.__all__:
        assert getattr(found, name).__name__ in (name, "ProxyApp")


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with each Python block of README as `readme_N.py`, of docs/python.md as `page_N.py`, and the blocks above."""
    folder = tmp_path_factory.mktemp("examples")
    for stem, page in (("readme", "README.md"), ("page", "docs/python.md")):
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)):
            (folder / f"{stem}_{number}.py").write_text(block)
    (folder / "more.py").write_text(MORE)
    (folder / "faults.py").write_text(FAULTS)
    return folder


def mypy(folder: Path, files: str, *flags: str) -> tuple[int, str]:
    """Return the status and the output of mypy for files of a directory."""
    names = sorted(path.name for path in folder.glob(files))
    assert names
    options = ["--config-file=", f"--cache-dir={folder.parent / 'mypy'}", "--follow-imports=silent", "--ignore-missing-imports"]
    command = [sys.executable, "-m", "mypy", *options, *flags, *names]
    environment = {"MYPYPATH": str(ROOT), "PATH": ""}
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=280)
    return ran.returncode, ran.stdout + ran.stderr


@pytest.mark.timeout(300)
def test_the_readmes_examples_pass_mypy_strict(examples: Path) -> None:
    assert len(list(examples.glob("readme_*.py"))) == 3
    status, text = mypy(examples, "readme_*.py", "--strict")
    assert status == 0, text


@pytest.mark.timeout(300)
def test_every_example_passes_mypy(examples: Path) -> None:
    status, text = mypy(examples, "page_*.py", "--check-untyped-defs")
    assert status == 0, text
    status, text = mypy(examples, "more.py", "--strict")
    assert status == 0, text


@pytest.mark.timeout(300)
def test_wrong_types_are_found(examples: Path) -> None:
    status, text = mypy(examples, "faults.py", "--strict")
    assert status == 1
    assert {int(line.split(":")[1]) for line in text.splitlines() if ": error:" in line} == {4, 5, 6, 7, 8}, text


@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("pyright") is None, reason="pyright is not installed")
def test_pyright_agrees(examples: Path) -> None:
    config = f'{{"extraPaths": ["{ROOT}"], "exclude": ["faults.py"], "pythonPath": "{sys.executable}"}}'
    (examples / "pyrightconfig.json").write_text(config)
    ran = subprocess.run(["pyright"], cwd=examples, capture_output=True, text=True, timeout=280)
    faults = [line for line in ran.stdout.splitlines() if " - error:" in line and "django" not in line]
    assert faults == [], ran.stdout
