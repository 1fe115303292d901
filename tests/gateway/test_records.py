"""FastCGI records, however the bytes arrive."""

from __future__ import annotations

import pytest

from tests.support.gateway import END, stderr, stdout
from wsgi_proxy.errors import InvalidResponse
from wsgi_proxy.gateway import Records
from wsgi_proxy.gateway.records import MOST, record, stdin


def decoded(data: bytes, step: int, records: Records) -> bytes:
    """Return the content of a response that arrives `step` bytes at a time."""
    return b"".join(b"".join(records.feed(data[at : at + step])) for at in range(0, len(data), step))


BIG = bytes(range(256)) * 1000
RESPONSES = {
    "one record": (stdout(b"abc") + END, b"abc"),
    "several": (stdout(b"abc") + stdout(b"def", 5) + END, b"abcdef"),
    "padding": (stdout(b"a", 255) + stdout(b"b", 7) + END, b"ab"),
    "an end of stdout": (stdout(b"abc") + stdout(b"") + END, b"abc"),
    "lines of stderr between": (stderr(b"one\n") + stdout(b"a") + stderr(b"two") + stdout(b"b") + END, b"ab"),
    "nothing": (stdout(b"") + END, b""),
    "large": (stdout(BIG, 3) + END, BIG),
}


@pytest.mark.parametrize("step", [1, 7, 8, 9, 100, 1 << 20])
@pytest.mark.parametrize("name", RESPONSES)
def test_the_content_of_stdout(name: str, step: int) -> None:
    data, content = RESPONSES[name]
    if len(data) > 10_000 and step == 1:
        step = 4093
    records = Records(kept=True)
    assert decoded(data, step, records) == content
    assert records.done and not records.rest


def test_bytes_behind_the_end_are_the_rest() -> None:
    records = Records(kept=True)
    records.feed(stdout(b"a") + END + b"more")
    assert records.done and records.rest == b"more"


def test_the_end_of_stdout_ends_a_response_whose_connection_is_not_kept() -> None:
    records = Records()
    assert records.feed(stdout(b"abc") + stdout(b"")) == [b"abc"]
    assert records.done


def test_without_an_end_it_is_not_done() -> None:
    records = Records()
    records.feed(stdout(b"abc") + END[:-1])
    assert not records.done


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"HTTP/1.1 200 OK\r\n", "unsupported FastCGI protocol version: 72"),
        (b"\x01\x0b\x00\x01\x00\x00\x00\x00", "invalid FastCGI record type: 11"),
        (b"\x01\x06\x01\x01\x00\x00\x00\x00", "unexpected FastCGI request id high byte: 1"),
        (b"\x01\x06\x00\x02\x00\x00\x00\x00", "unexpected FastCGI request id low byte: 2"),
    ],
)
def test_other_bytes_are_invalid(data: bytes, message: str) -> None:
    with pytest.raises(InvalidResponse, match=f"upstream sent {message} while reading response header from upstream"):
        Records().feed(data)


def test_lines_of_stderr_go_to_the_log_without_their_end() -> None:
    lines: list[tuple[str, str]] = []
    records = Records(log=lambda level, text: lines.append((level, text)))
    records.feed(stderr(b"PHP message: one.\r\n") + stdout(b"\r\n"))
    records.begin(b"", None)
    records.feed(stderr(b"two") + END)
    assert lines == [
        ("error", 'FastCGI sent in stderr: "PHP message: one" while reading response header from upstream'),
        ("error", 'FastCGI sent in stderr: "two" while reading upstream'),
    ]


def test_a_record_of_stderr_in_pieces_is_one_line() -> None:
    lines: list[str] = []
    data = stderr(b"a line of the application") + END
    decoded(data, 3, Records(log=lambda level, text: lines.append(text)))
    assert lines == ['FastCGI sent in stderr: "a line of the application" while reading response header from upstream']


def test_a_caught_text_makes_the_response_invalid_only_before_the_head_is_complete() -> None:
    with pytest.raises(InvalidResponse, match="fastcgi_catch_stderr"):
        Records(caught=(b"Fatal",)).feed(stderr(b"PHP Fatal error"))
    records = Records(caught=(b"Fatal",))
    records.begin(b"", None)
    records.feed(stderr(b"PHP Fatal error") + END)
    assert records.done


def test_a_body_is_never_longer_than_declared() -> None:
    lines: list[tuple[str, str]] = []
    records = Records(log=lambda level, text: lines.append((level, text)))
    records.begin(b"ab", 5)
    assert records.take() == [b"ab"]
    assert records.feed(stdout(b"cdefg") + stdout(b"hij") + END) == [b"cde"]
    assert records.done
    assert lines == [("warn", 'upstream sent more data than specified in "Content-Length" header while reading upstream')]


def test_a_body_shorter_than_declared_is_never_done() -> None:
    records = Records()
    records.begin(b"ab", 5)
    assert records.feed(stdout(b"c") + END) == [b"c"]
    assert records.short and not records.done


def test_a_body_that_ended_short_with_its_head_is_marked() -> None:
    records = Records()
    records.feed(stdout(b"head") + END)
    records.begin(b"ab", 5)
    assert records.short and records.take() == [b"ab"]


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, MOST - 1, MOST, MOST + 1, 3 * MOST, 100_000])
def test_a_request_body_in_records(size: int) -> None:
    data = BIG[:size]
    sent = stdin(data)
    assert len(sent) % 8 == 0
    found, at = b"", 0
    while at < len(sent):
        head = sent[at : at + 8]
        length, padding = head[4] << 8 | head[5], head[6]
        assert head[:4] == b"\x01\x05\x00\x01" and length <= MOST and padding < 8
        found += sent[at + 8 : at + 8 + length]
        at += 8 + length + padding
    assert found == data


def test_a_record_is_padded_to_eight_bytes() -> None:
    assert record(4, b"abc") == b"\x01\x04\x00\x01\x00\x03\x05\x00abc\x00\x00\x00\x00\x00"
