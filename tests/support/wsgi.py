"""Helpers of the tests of applications made in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug.test import Client as WSGIClient

from tests.support import Recorder, reply


@pytest.fixture
def upstream() -> Iterator[Recorder]:
    with Recorder(lambda r, w: reply(b"upstream " + r.target.encode(), headers=[("Server", "theirs"), ("X-A", "1")])) as recorder:
        yield recorder


Made = Callable[[Any], Any]


@pytest.fixture
def made() -> Iterator[Made]:
    """Wraps a proxy or a middleware that the test made, to close it in the end."""
    things: list[Any] = []

    def keep(thing: Any) -> Any:
        things.append(thing)
        return thing

    yield keep
    for thing in things:
        thing.close()


def get(app: Any, path: str, method: str = "GET", **options: Any) -> Any:
    return WSGIClient(app).open(path, method=method, buffered=True, environ_base={"REMOTE_ADDR": "127.0.0.1"}, **options)
