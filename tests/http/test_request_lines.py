"""Header lines that are remembered, and those that are not."""

from __future__ import annotations

import pytest

from wsgi_proxy.http.request import parse_request_head
from wsgi_proxy.http.request_lines import MAX_LINES, LineMemory
from wsgi_proxy.http.syntax import MAX_NAMES


def test_lines_and_names_that_are_remembered_are_bounded() -> None:
    memory = LineMemory()
    for number in range(3 * MAX_LINES):
        memory.learn(f"X-{number}: y")
    assert len(memory.lately) <= MAX_LINES and len(memory._older) <= MAX_LINES
    assert len(memory._names) <= MAX_NAMES
    head = parse_request_head(b"GET / HTTP/1.1\r\nHost: a\r\nX-unseen-before: y\r\nCONTENT-length: 3\r\n\r\n")
    assert head.content_length == 3


def test_a_line_in_use_survives_a_flood_of_others() -> None:
    memory = LineMemory()
    kept = memory.learn("Accept: x")
    for number in range(MAX_LINES - 1):
        memory.learn(f"X-{number}: y")
    assert memory.lately.get("Accept: x") is kept
    memory.learn("X-Last: y")
    assert "Accept: x" not in memory.lately and memory.learn("Accept: x") is kept


@pytest.mark.parametrize("name", ["Cookie", "AUTHORIZATION", "If-None-Match", "Referer"])
def test_secrets_and_lines_that_never_recur_are_not_remembered(name: str) -> None:
    memory = LineMemory()
    assert memory.learn(f"{name}: a").pair == (name, "a")
    memory.learn("X-Long: " + "x" * 300)
    assert not memory.lately
