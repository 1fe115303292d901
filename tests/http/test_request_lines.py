"""Header lines that are remembered, and those that are not."""

from __future__ import annotations

import pytest

from wsgi_proxy.errors import ClientError
from wsgi_proxy.http.request import parse_request_head
from wsgi_proxy.http.request_lines import MAX_LINES, LineMemory
from wsgi_proxy.http.syntax import MAX_NAMES


def test_lines_and_names_that_are_remembered_are_bounded() -> None:
    memory = LineMemory()
    for number in range(3 * MAX_LINES):
        memory.learn(b"X-%d: y" % number)
    assert len(memory.lately) <= MAX_LINES and len(memory._older) <= MAX_LINES
    assert len(memory._names) <= MAX_NAMES
    head = parse_request_head(b"GET / HTTP/1.1\r\nHost: a\r\nX-unseen-before: y\r\nCONTENT-length: 3\r\n\r\n")
    assert head.content_length == 3


def test_a_line_in_use_survives_a_flood_of_others() -> None:
    memory = LineMemory()
    kept = memory.learn(b"Accept: x")
    for number in range(MAX_LINES - 1):
        memory.learn(b"X-%d: y" % number)
    assert memory.lately.get(b"Accept: x") is kept
    memory.learn(b"X-Last: y")
    assert b"Accept: x" not in memory.lately and memory.learn(b"Accept: x") is kept


@pytest.mark.parametrize("name", ["Cookie", "AUTHORIZATION", "If-None-Match", "Referer"])
def test_secrets_and_lines_that_never_recur_are_not_remembered(name: str) -> None:
    memory = LineMemory()
    assert memory.learn(f"{name}: a".encode()).pair == (name, "a")
    memory.learn(b"X-Long: " + b"x" * 300)
    assert not memory.lately


@pytest.mark.parametrize(
    ("sent", "tidy", "pair", "key"),
    [
        (b"Accept: x", b"Accept: x", ("Accept", "x"), "HTTP_ACCEPT"),
        (b"accept:x", b"accept: x", ("accept", "x"), "HTTP_ACCEPT"),
        (b"X-A:  two \t", b"X-A: two", ("X-A", "two"), "HTTP_X_A"),
        (b"X:", b"X: ", ("X", ""), "HTTP_X"),
        (b"X: ", b"X: ", ("X", ""), "HTTP_X"),
        (b"X: \t", b"X: ", ("X", ""), "HTTP_X"),
        (b"X:\xe9", b"X: \xe9", ("X", "\xe9"), "HTTP_X"),
        (b"Content-TYPE: a", b"Content-TYPE: a", ("Content-TYPE", "a"), "CONTENT_TYPE"),
        (b"Content_Type: a", b"Content_Type: a", ("Content_Type", "a"), ""),
    ],
)
def test_the_forms_of_a_line(sent: bytes, tidy: bytes, pair: tuple[str, str], key: str) -> None:
    memory = LineMemory()
    for _ in range(2):
        field = memory.learn(sent)
        assert (field.line, field.pair, (field.name, field.value), field.key) == (tidy, pair, pair, key)
        assert memory.lately.get(sent) is field


LINES = [
    *(b"Accept: x", b"Cookie: a=1", b"Cookie: b", b"cookie: b", b"Cookie:b", b"Cookie:  b ", b"Cookie: ", b"Cookie: b "),
    b"Referer: \xe9",
]


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("before", LINES)
def test_the_line_of_the_last_head_changes_no_meaning(before: bytes, line: bytes) -> None:
    memory = LineMemory()
    memory.last = [memory.learn(before)]
    wanted = LineMemory().learn(line)
    for at in (0, 1):
        field = memory.find(line, at)
        assert (field.line, field.pair, field.key, field.meaning) == (wanted.line, wanted.pair, wanted.key, wanted.meaning)


@pytest.mark.parametrize("line", [b"Cookie: a\nb", b"Cookie: a\x00b", b"Cookie: \x01b", b"", b"Cookie", b"Cookie : a"])
def test_a_fault_is_found_where_a_good_line_stood(line: bytes) -> None:
    memory = LineMemory()
    memory.last = [memory.learn(b"Cookie: a")]
    with pytest.raises(ClientError):
        memory.find(line, 0)
