"""Whether the next server may have a try."""

from __future__ import annotations

import pytest

from wsgi_proxy.config import ProxySettings
from wsgi_proxy.proxy.request_body import Upload
from wsgi_proxy.proxy.retries import Retries


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def retries(
    words: str = "error timeout", method: str = "GET", tries: int = 3, upload: Upload | None = None, limit: float = 0
) -> Retries:
    settings = ProxySettings(next_upstream=frozenset(words.split()), next_upstream_timeout=limit)
    made = Retries(settings, method, tries, upload, Clock())
    made.left -= 1
    return made


@pytest.mark.parametrize(
    ("words", "method", "kind", "sent", "may"),
    [
        ("error timeout", "GET", "error", True, True),
        ("error timeout", "GET", "timeout", True, True),
        ("error timeout", "GET", "invalid_header", True, False),
        ("error timeout", "GET", None, True, False),
        ("error http_500", "GET", "http_500", True, True),
        ("error", "POST", "error", False, True),
        ("error", "POST", "error", True, False),
        ("error", "LOCK", "error", True, False),
        ("error", "PATCH", "error", True, False),
        ("error", "PUT", "error", True, True),
        ("error non_idempotent", "POST", "error", True, True),
        ("", "GET", "error", False, False),
    ],
)
def test_what_is_listed_and_what_was_sent(words: str, method: str, kind: str | None, sent: bool, may: bool) -> None:
    assert retries(words, method).may(kind, sent) is may


def test_tries_run_out() -> None:
    left = retries(tries=2)
    assert left.may("error", True)
    left.left -= 1
    assert not left.may("error", True)


def test_time_runs_out_between_tries() -> None:
    clock = Clock()
    left = Retries(ProxySettings(next_upstream_timeout=5.0), "GET", 9, None, clock)
    clock.now += 4.9
    assert left.may("error", True)
    clock.now += 0.2
    assert not left.may("error", True)


def test_a_body_that_is_gone_cannot_be_sent_again() -> None:
    assert retries(upload=Upload(3, data=b"abc")).may("error", True)
    streamed = Upload(None, source=None)
    assert retries(upload=streamed).may("error", True)
    streamed.started = True
    assert not retries(upload=streamed).may("error", True)
