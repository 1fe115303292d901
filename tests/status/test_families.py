"""The table of metrics, and every place that names one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT
from wsgi_proxy.status.families import FAMILIES, PREFIX, table


def test_names_are_unique_and_say_their_kind() -> None:
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    for family in FAMILIES:
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
        assert family.about.endswith(".") and "le" not in family.labels


def test_the_document_has_the_table() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text()
    assert table() in text, 'put the output of `python -c "from wsgi_proxy.status.families import *; print(table())"` there'
    known = {PREFIX + family.name for family in FAMILIES}
    assert {name for name in re.findall(rf"`({PREFIX}\w+)`", text) if name not in ("wsgi_proxy_status",)} == known


def series() -> set[str]:
    """Return the names of all series, those of histograms included."""
    found: set[str] = set()
    for family in FAMILIES:
        ends = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
        found |= {f"{PREFIX}{family.name}{end}" for end in ends}
    return found


@pytest.mark.parametrize("path", ["deploy/grafana.json", "deploy/alerts.yml"])
def test_dashboards_and_alerts_use_metrics_that_exist(path: str) -> None:
    text = (ROOT / path).read_text()
    used = set(re.findall(rf"\b{PREFIX}\w+", text))
    assert used and used <= series(), used - series()
    labels = {label for family in FAMILIES for label in family.labels} | {"instance", "le", "severity"}
    named = set(re.findall(r"\$labels\.(\w+)", text)) | set(re.findall(r'(\w+)=~?\\?"', text))
    for group in re.findall(r"by \(([\w, ]+)\)", text):
        named |= set(group.split(", "))
    assert named <= labels, named - labels


def test_the_grafana_dashboard_is_whole() -> None:
    board = json.loads((ROOT / "deploy" / "grafana.json").read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)) >= 15 and {each["name"] for each in board["templating"]["list"]} == {"source", "instance"}
    places = [(each["gridPos"]["x"], each["gridPos"]["y"]) for each in board["panels"]]
    assert len(set(places)) == len(places)
    assert all(target["expr"] for each in board["panels"] for target in each["targets"])


def test_promtool_accepts_the_alert_rules() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    done = subprocess.run(["promtool", "check", "rules", str(ROOT / "deploy" / "alerts.yml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_parses_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    board = json.loads((ROOT / "deploy" / "grafana.json").read_text())
    queries = [target["expr"].replace("$__rate_interval", "5m") for each in board["panels"] for target in each["targets"]]
    rules = [{"record": f"query:number_{number}", "expr": query} for number, query in enumerate(queries)]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
