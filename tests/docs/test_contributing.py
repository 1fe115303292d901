"""Contributors' files agree with each other: workflows, hooks, make targets, the documentation's navigation."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import ROOT
from tests.test_layers import LAYERS
from wsgi_proxy import config

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROSE = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docs/operating.md")]


def workflow(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())
    return loaded


def make_targets(text: str) -> set[str]:
    """The targets of the `make` commands in a text; a matrix expression stands for each of its values."""
    text = text.replace("${{ matrix.worker }}", "gthread")
    return set(re.findall(r"^\s*(?:- )?(?:run: )?make ([a-z][a-z-]*)", text, re.MULTILINE))


@pytest.mark.parametrize("path", [*WORKFLOWS, *PROSE], ids=lambda path: path.name)
def test_every_make_target_exists(path: Path) -> None:
    for target in make_targets(path.read_text()):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr


def test_the_workflows_run_the_checks() -> None:
    ran = set().union(*(make_targets(path.read_text()) for path in WORKFLOWS))
    assert {"lint", "docs", "test", "test-source", "test-gthread"} <= ran


def test_the_supported_versions_are_those_tested_and_built() -> None:
    prefix = "Programming Language :: Python :: 3."
    classifiers = [text.removeprefix(prefix) for text in PROJECT["project"]["classifiers"] if text.startswith(prefix)]
    minors = [int(text) for text in classifiers]
    assert minors == list(range(10, 15))
    matrix = workflow("tests.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix == {"python": [f"3.{minor}" for minor in minors], "kind": ["compiled", "pure"]}
    built = PROJECT["tool"]["cibuildwheel"]["build"]
    assert built == [f"cp3{minor}-*" for minor in minors]
    assert PROJECT["project"]["requires-python"] == f">=3.{minors[0]}"


def test_the_wheels_are_for_both_machines_and_one_is_pure() -> None:
    jobs = workflow("wheels.yml")["jobs"]
    machines = {(item["arch"], item["runner"]) for item in jobs["compiled"]["strategy"]["matrix"]["include"]}
    assert machines == {("x86_64", "ubuntu-24.04"), ("aarch64", "ubuntu-24.04-arm")}
    steps = jobs["pure"]["steps"]
    assert {"run": "python -m build --wheel", "env": {"WSGI_PROXY_PURE": "1"}} in steps
    assert jobs["publish"]["needs"] == ["compiled", "pure"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_write_nothing_by_default(path: Path) -> None:
    loaded = workflow(path.name)
    assert loaded["permissions"] == {"contents": "read"}
    for job in loaded["jobs"].values():
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            # A version, never a branch; the publishing action documents `release/v1`.
            assert re.search(r"@(v\d|release/v1$)", step.get("uses", "@v1"))


def test_the_hooks_run_the_tools_of_make_lint() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [hook["id"] for hook in repository["hooks"]] == ["ruff-check", "ruff-format", "mypy"]
    for hook in repository["hooks"]:
        tool, *words = hook["entry"].split()
        assert Path(tool).parent == Path(".venv/bin")
        command = [sys.executable, "-m", Path(tool).name, *words, "--help"]
        assert subprocess.run(command, capture_output=True, timeout=120).returncode == 0


@pytest.mark.skipif(not (ROOT / "wsgi_proxy" / "nginx").is_dir(), reason="the page describes the layout in packages")
def test_the_layout_that_contributors_read_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    package = ROOT / "wsgi_proxy"
    rows = re.findall(r"^\| [\w ]+ \| (`.*) \|$", text, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([\w/]+)`", row)}
    folders = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_dir() and path.name != "__pycache__"}
    modules = {path.stem for path in package.glob("*.py")}
    assert named and named <= folders | modules
    assert {name for name in folders if "/" not in name} <= named
    for name in re.findall(r"`((?:\w+/)+\w+\.(?:py|txt))`", text):
        assert (ROOT / name).exists() or (package / name).exists(), name
    layers = [layer for layer in LAYERS if layer != "__main__"]
    assert len(rows) == len(layers)
    for row, layer in zip(reversed(rows), layers, strict=True):
        for name in layer.split():
            assert f"`{name}`" in row or f"`{name}.py`" in row, name


#: The lines and files that a contributor reads at most, by section.
READING = {"Add a balancing policy": (300, 3), "Add a cache storage": (350, 3), "Add an access rule": (350, 3)}


@pytest.mark.parametrize("section", READING)
def test_a_contributor_reads_little(section: str) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text().partition(f"### {section}\n")[2].partition("\n### ")[0]
    sentence = re.search(r"^Read (.*?)[.] ", text, re.MULTILINE | re.DOTALL)
    assert sentence is not None
    names = re.findall(r"`([\w/]+\.py)`", sentence[1])
    lines = sum(len((ROOT / "wsgi_proxy" / name).read_text().splitlines()) for name in names)
    for settings in re.findall(r"`(\w+Settings)`", sentence[1]):
        lines += len(inspect.getsource(getattr(config, settings)).splitlines())
    most, files = READING[section]
    assert 0 < lines <= most and 0 < len(names) <= files, f"{lines} lines in {names}"


def test_the_templates_load() -> None:
    forms = [yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")]
    bodies = [form["body"] for form in forms if "body" in form]
    assert len(bodies) == 2
    for body in bodies:
        identifiers = [item["id"] for item in body if item["type"] != "markdown"]
        assert len(identifiers) == len(set(identifiers)) >= 2


def pages(nav: list[Any]) -> list[str]:
    """The pages of a navigation, in order."""
    found: list[str] = []
    for item in nav:
        entry = next(iter(item.values())) if isinstance(item, dict) else item
        found += pages(entry) if isinstance(entry, list) else [entry]
    return found


def test_every_page_is_in_the_navigation_once() -> None:
    listed = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    there = sorted(str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md"))
    assert sorted(listed) == there
