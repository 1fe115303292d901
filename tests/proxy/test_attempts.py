"""The loop over servers, and the rules for another attempt."""

from __future__ import annotations

import pytest

from tests.support.pools import Clock
from wsgi_proxy.config import ProxySettings, Server
from wsgi_proxy.errors import NoLiveUpstreams, Refusal, UpstreamError
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.proxy.attempts import Attempts, Retries
from wsgi_proxy.proxy.request_body import Upload
from wsgi_proxy.response import Attempt
from wsgi_proxy.shm.private_memory import PrivateMemory
from wsgi_proxy.upstream.pool import Lease, Pool
from wsgi_proxy.upstream.pool_state import Runtime


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


class Sends(Attempts):
    """Attempts whose outcomes are given: an error to raise, None for another attempt, or the result."""

    def prepare(self, *outcomes: object) -> Sends:
        self.outcomes = list(outcomes)
        self.leases: list[Lease] = []
        return self

    def send(self, lease: Lease, attempt: Attempt) -> object:
        self.leases.append(lease)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is None:
            lease.settle(True)
        return outcome

    def url(self, lease: Lease) -> str:
        return lease.peer.name


def sends(words: str, *outcomes: object) -> Sends:
    pool = Pool(["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"], runtime=Runtime(PrivateMemory()))
    exchange = Exchange()
    settings = ProxySettings(next_upstream=frozenset(words.split()))
    return Sends(exchange, pool, Retries(settings, "GET", pool.tries_limit, None, Clock())).prepare(*outcomes)


def test_the_loop_goes_on_to_a_result() -> None:
    loop = sends("error http_500", UpstreamError("refused"), None, "result")
    assert loop.run() == "result"
    assert [lease.settled for lease in loop.leases] == [True, True, False]
    assert len({lease.peer.name for lease in loop.leases}) == 3
    assert [(each.status, each.error) for each in loop.exchange.tries] == [(502, "refused"), (0, ""), (0, "")]


def test_the_loop_raises_the_last_error() -> None:
    loop = sends("error", UpstreamError("first"), UpstreamError("second"), UpstreamError("third"))
    with pytest.raises(UpstreamError, match="third"):
        loop.run()
    assert all(lease.settled for lease in loop.leases) and len(loop.leases) == 3


def test_a_denied_destination_ends_the_loop_unless_it_is_listed() -> None:
    loop = sends("error", Refusal("denied"), "result")
    with pytest.raises(Refusal):
        loop.run()
    assert [lease.settled for lease in loop.leases] == [True]
    assert sends("denied", Refusal("denied"), "result").run() == "result"


def test_a_defect_settles_the_lease() -> None:
    loop = sends("error", ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        loop.run()
    assert loop.leases[0].settled


def test_a_pool_without_a_live_server_is_on_the_record() -> None:
    pool = Pool([Server("http://127.0.0.1:1", max_conns=1)], runtime=Runtime(PrivateMemory()))
    pool.lease(Exchange())
    loop = Sends(Exchange(), pool, Retries(ProxySettings(), "GET", 1, None, Clock())).prepare()
    with pytest.raises(NoLiveUpstreams):
        loop.run()
    assert [(each.address, each.status) for each in loop.exchange.tries] == [(loop.pool.name, 502)]
