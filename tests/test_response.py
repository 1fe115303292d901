"""Responses and their bodies."""

from __future__ import annotations

import io
from typing import Any

import pytest

from wsgi_proxy.response import Attempt, FileBody, Response


def test_a_response_closes_its_body_once() -> None:
    class Body:
        closed = 0

        def __iter__(self) -> Any:
            return iter(())

        def close(self) -> None:
            self.closed += 1

    body = Body()
    response = Response(200, [("A", "1"), ("a", "2")], body)
    assert response.header("a") == "1"
    response.close()
    response.close()
    assert body.closed == 1


def test_a_part_of_a_file_as_a_body() -> None:
    assert b"".join(FileBody(io.BytesIO(b"0123456789"), 2, 5, block=2)) == b"23456"
    with pytest.raises(EOFError):
        list(FileBody(io.BytesIO(b"01"), 0, 5))


def test_an_attempt_has_no_times_before_its_events() -> None:
    attempt = Attempt("127.0.0.1:80")
    assert attempt.address == "127.0.0.1:80" and attempt.started > 0
    assert (attempt.connect_time, attempt.header_time, attempt.response_time) == (None, None, None)
