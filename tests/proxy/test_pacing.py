"""A body takes as long as its rate demands, by nginx's count."""

from __future__ import annotations

import pytest

from wsgi_proxy.proxy.pacing import Paced, accelerated, rate_of


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.now += seconds


def paced(blocks: list[bytes], rate: int, after: int = 0) -> tuple[Paced, Time]:
    clock = Time()
    return Paced(blocks, rate, after, clock=lambda: clock.now, sleep=clock.sleep), clock


@pytest.mark.parametrize(
    ("size", "rate", "after", "seconds"),
    [(1000, 1000, 0, 0), (3000, 1000, 0, 2), (3000, 1000, 1000, 1), (3000, 1000, 5000, 0), (100_000, 50_000, 0, 1), (5, 1, 0, 4)],
)
def test_how_long_a_body_takes(size: int, rate: int, after: int, seconds: float) -> None:
    data = bytes(range(250)) * (size // 250 + 1)
    for block in (size, 700):
        body, clock = paced([data[:size][i : i + block] for i in range(0, size, block)], rate, after)
        assert b"".join(body) == data[:size]
        assert clock.now - 100 == pytest.approx(seconds, abs=0.15)


def test_the_flow_is_even() -> None:
    body, clock = paced([b"x" * 100_000], 10_000)
    sizes = [len(piece) for piece in body]
    assert sizes[0] == 10_000 and max(sizes[1:]) <= 1001
    assert max(clock.slept) <= 0.11


def test_what_comes_slowly_is_not_held_up() -> None:
    clock = Time()

    def slow() -> object:
        for _ in range(20):
            clock.now += 1
            yield b"x" * 500

    body = Paced(slow(), 1000, clock=lambda: clock.now, sleep=clock.sleep)  # type: ignore[arg-type]
    assert b"".join(body) == b"x" * 10_000 and not clock.slept


def test_closing_closes_the_other() -> None:
    class Body(list[bytes]):
        closed = False

        def close(self) -> None:
            self.closed = True

    other = Body([b"x"])
    Paced(other, 1).close()
    assert other.closed


@pytest.mark.parametrize(("text", "rate"), [("0", 0), ("7", 7), ("2k", 2048), ("1M", 1 << 20), ("", None), ("1g", None)])
def test_sizes(text: str, rate: int | None) -> None:
    assert rate_of(text) == rate


def test_what_an_upstream_says() -> None:
    pairs = [("X-Accel-Limit-Rate", "2048")]
    assert accelerated(pairs, frozenset()) == 2048
    assert accelerated(pairs, frozenset({"x-accel-limit-rate"})) is None
    assert accelerated([("X-Accel-Limit-Rate", "0")], frozenset()) == 0
    for value in ("off", "1k", "-1", "abc", "", "9" * 20):
        assert accelerated([("X-Accel-Limit-Rate", value)], frozenset()) is None
    assert accelerated([], frozenset()) is None
