"""fields: the checks of a head, and the clock behind Server and Date."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from time import time

import pytest

from wsgi_proxy.worker.response import fields as worker_fields
from wsgi_proxy.worker.response.fields import Clock, check_value, http_date, learn_name, learn_status, remember_line


def test_statuses() -> None:
    assert [learn_status(status) for status in ("200 OK", "404", "599 \xe9", "101 Switching Protocols")] == [200, 404, 599, 101]
    for bad in ("", "20 OK", "2000", "200OK", "200 a\r\nb", "200 \x01", "200 \u20ac", "099 x", "100 Continue", "103", b"200 OK"):
        with pytest.raises(ValueError):
            learn_status(bad)  # type: ignore[arg-type]


def test_names() -> None:
    names = ("X-Foo", "CONTENT-length", "Date", "Server")
    assert [learn_name(name) for name in names] == ["", "content-length", "date", "server"]
    for bad in ("", "a b", "a:", "a\r\n", "\xe9", b"a", None):
        with pytest.raises(ValueError):
            learn_name(bad)  # type: ignore[arg-type]


def test_values() -> None:
    for good in ("", "a\tb", "\xa0\xad\xff"):
        check_value("X", good)
    for bad in ("a\r\nb", "a\nb", "a\rb", "\0", "\x7f", "\u20ac"):
        with pytest.raises(ValueError, match="X"):
            check_value("X", bad)


def test_invented_ones_do_not_fill_the_memory() -> None:
    for n in range(worker_fields._MAX_NAMES + 100):
        learn_name(f"X-{n}")
        learn_status(f"200 {n}")
    assert len(worker_fields.NAMES) <= worker_fields._MAX_NAMES and len(worker_fields.STATUSES) <= worker_fields._MAX_NAMES


def test_fields_that_recur_are_remembered_within_bounds() -> None:
    worker_fields.LINES.clear()
    for pair in [("Set-Cookie", "a"), ("ETAG", "a"), ("X", "y" * 200), ["X", "y"]]:
        remember_line(pair, f"{pair[0]}: {pair[1]}\r\n")
    assert not worker_fields.LINES
    for n in range(worker_fields._MAX_NAMES + 100):
        remember_line(("X", str(n)), f"X: {n}\r\n")
    assert worker_fields.LINES[("X", str(worker_fields._MAX_NAMES + 99))] == f"X: {worker_fields._MAX_NAMES + 99}\r\n"
    assert len(worker_fields.LINES) <= worker_fields._MAX_NAMES


def test_the_date() -> None:
    clock = Clock()
    clock.tick(0)
    assert clock.date == "Thu, 01 Jan 1970 00:00:00 GMT" and clock.ours.endswith(f"Date: {clock.date}\r\n")
    assert abs(parsedate_to_datetime(http_date()).timestamp() - time()) < 60
