"""docs/security.md lists every refusal with the test cases for it, and no other."""

from __future__ import annotations

import re

from tests.http.test_framing import BAD
from tests.http.test_request import BAD_REQUESTS
from tests.http.test_response import BAD_RESPONSES
from tests.support import ROOT


def rows(title: str) -> list[list[str]]:
    """The cells of each row of the table in a section."""
    text = (ROOT / "docs" / "security.md").read_text()
    section = re.split(r"^## ", text, flags=re.M)
    found = next(part for part in section if part.startswith(title))
    lines = [line for line in found.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def cases(title: str) -> list[str]:
    return [case.strip() for row in rows(title) for case in row[-1].split(";")]


def test_requests() -> None:
    assert sorted(cases("Requests")) == sorted(BAD_REQUESTS)
    for row in rows("Requests"):
        for case in row[3].split(";"):
            assert BAD_REQUESTS[case.strip()][0] == int(row[2]), case


def test_responses() -> None:
    assert sorted(cases("Responses")) == sorted(BAD_RESPONSES)


def test_chunks() -> None:
    assert sorted(cases("Chunked")) == sorted(BAD)


def test_every_row_names_its_source() -> None:
    for title in ("Requests", "Responses", "Chunked"):
        for row in rows(title):
            assert re.search(r"RFC \d{4}, sections? \d", row[1]), row
