"""The chain of filters, its marks, and the bodies that pass through it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wsgi_proxy.exchange import Exchange
from wsgi_proxy.filters import FilteredBody, Filters, Transform
from wsgi_proxy.filters.pipeline import SMALL_FILE, marked
from wsgi_proxy.response import FileBody, Response


class Waiting:
    """A body whose blocks arrive one by one, except those that `together` names."""

    def __init__(self, blocks: list[bytes], together: tuple[int, ...] = ()) -> None:
        self.blocks = blocks
        self.together = together
        self.buffered = True
        self.taken = 0
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        for block in self.blocks:
            self.taken += 1
            yield block

    def next_at_hand(self) -> bool:
        return self.taken in self.together or self.taken == len(self.blocks)

    def close(self) -> None:
        self.closed += 1


def upper(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Hold everything back until a mark or the end."""
    held = b""
    for block in blocks:
        if block:
            held += block.upper()
        else:
            yield held
            held = b""
            yield b""
    yield held + b"."


def bracket(blocks: Iterator[bytes]) -> Iterator[bytes]:
    for block in blocks:
        yield b"<%b>" % block if block else b""


def never(exchange: Exchange, response: Response) -> Transform | None:
    return None


def always(exchange: Exchange, response: Response) -> Transform | None:
    response.headers.append(("X-Filter", "upper"))
    response.length = None
    return upper


def test_a_mark_follows_each_block_that_came_alone() -> None:
    assert list(marked(Waiting([b"a", b"b", b"c", b"d"], together=(2,)))) == [b"a", b"", b"b", b"c", b"", b"d"]
    assert list(marked((b"a", b"b"))) == [b"a", b"b"]
    assert list(marked(iter([b"a", b"b"]))) == [b"a", b"", b"b", b""]


def test_a_body_of_known_length_is_joined() -> None:
    waiting, unbuffered = Waiting([b"a", b"b"]), Waiting([b"a", b"b"])
    unbuffered.buffered = False
    assert list(marked(waiting, True)) == [b"a", b"b"]
    assert list(marked(unbuffered, True)) == [b"a", b"", b"b"]
    for length, blocks in ((2, [b"AB."]), (None, [b"A", b"B."])):
        response = Response(200, [], Waiting([b"a", b"b"]), length=length)
        Filters((always,))(Exchange(), response)
        assert list(response.body) == blocks


def test_transforms_run_in_order_and_marks_reach_all_of_them() -> None:
    body = FilteredBody(Waiting([b"a", b"b", b"c"], together=(1,)), [upper, bracket])
    assert list(body) == [b"<AB>", b"<C.>"]


def test_a_body_that_breaks_off_has_no_end() -> None:
    def broken() -> Iterator[bytes]:
        yield b"a"
        raise ConnectionResetError

    blocks = iter(FilteredBody(broken(), [upper]))
    assert next(blocks) == b"A"  # all that came before
    with pytest.raises(ConnectionResetError):
        next(blocks)


def test_the_other_body_is_closed_once() -> None:
    inner = Waiting([b"a"])
    body = FilteredBody(inner, [upper])
    body.close()
    body.close()
    assert inner.closed == 1


@pytest.mark.parametrize(("method", "status", "wrapped"), [("GET", 200, True), ("HEAD", 200, False), ("GET", 304, False)])
def test_a_response_without_a_body_gets_the_fields_alone(method: str, status: int, wrapped: bool) -> None:
    exchange, response = Exchange(), Response(status, [], (b"a",), length=1)
    exchange.method = method
    Filters((never, always))(exchange, response)
    assert response.headers == [("X-Filter", "upper")]
    assert isinstance(response.body, FilteredBody) is wrapped


def test_a_body_at_hand_passes_in_one_piece(tmp_path: Path) -> None:
    class Arrived(Waiting):
        def at_hand(self) -> bytes | None:
            return b"all"

    (tmp_path / "a").write_bytes(b"file")
    with open(tmp_path / "a", "rb", buffering=0) as file:
        assert FilteredBody(FileBody(file, 1, 3), [upper], True).at_hand() == b"ILE."
        assert FilteredBody(FileBody(file, 0, SMALL_FILE + 1), [upper], True).at_hand() is None
    assert FilteredBody(Arrived([]), [upper, bracket], True).at_hand() == b"<ALL.>"
    assert FilteredBody((b"a",), [upper], True).at_hand() == b"A."
    assert FilteredBody((b"a", b"b"), [upper], True).at_hand() is None
    assert FilteredBody(Waiting([b"a"]), [upper], True).at_hand() is None
    assert FilteredBody((b"a",), [upper], False).at_hand() is None


def test_only_instant_filters_make_an_instant_body() -> None:
    class Quick:
        instant = True

        def __call__(self, exchange: Exchange, response: Response) -> Transform | None:
            return upper

    for filters, whole in (((Quick(),), b"A."), ((Quick(), never), b"A."), ((Quick(), always), None)):
        response = Response(200, [], (b"a",))
        Filters(filters)(Exchange(), response)
        assert isinstance(response.body, FilteredBody) and response.body.at_hand() == whole


def test_a_probe_leaves_the_response_alone() -> None:
    response = Response(200, [("A", "b")], (b"a",), length=1)
    assert Filters((always,)).whole(Exchange(), response) and not Filters((never,)).whole(Exchange(), response)
    assert (response.headers, response.length, response.body) == ([("A", "b")], 1, (b"a",))


def test_a_switch_of_protocols_is_not_filtered() -> None:
    response = Response(101, [], (b"a",))
    Filters((always,))(Exchange(), response)
    assert response.headers == []
