"""docs/differences.md: each row has a reason, the tests that it names exist, and the comparison on real files uses its rows."""

from __future__ import annotations

import re

import pytest

from tests.differential.beside_documented import CACHED, DOCUMENTED, HANDSHAKE, PARTS
from tests.support import ROOT

PAGE = (ROOT / "docs" / "differences.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| subject |")
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_has_a_reason_and_its_tests_exist(row: list[str]) -> None:
    subject, theirs, ours, reason, tests = row
    assert subject and theirs and theirs != ours
    assert len(reason) > 10
    for test in [] if tests == "–" else tests.split("; "):
        assert re.fullmatch(r"tests/[\w/]+\.py", test) and (ROOT / test).is_file()


def test_subjects_are_unique_and_cover_the_comparison() -> None:
    subjects = [row[0] for row in ROWS]
    assert len(set(subjects)) == len(subjects) > 25
    assert {*DOCUMENTED, CACHED, HANDSHAKE, PARTS} <= set(subjects)
