"""A body that another process writes: to its end, or continued from the upstream if the writer gives up."""

import os

import pytest

from tests.support.caching import Body
from wsgi_proxy.cache.fill import join
from wsgi_proxy.cache.rfc9111.freshness import Freshness
from wsgi_proxy.cache.storage.entry import Entry
from wsgi_proxy.errors import TruncatedResponse
from wsgi_proxy.response import Response

WHOLE = bytes(range(256)) * 40
HALF = 5000


@pytest.fixture
def growing_body(tmp_path):
    """Return a function (blocks, length, start, end): the body of a follower whose leader has written half of WHOLE.

    `blocks` are the blocks of the second response."""

    class Growing:
        """A body that records how it is read and closed."""

        def __init__(self, second, length=None, *part):
            leader, follower = join(str(tmp_path), "f"), join(str(tmp_path), "f")
            leader.begin(Entry("k", "/", 200, "", [], Freshness(0.0, 60.0), 0.0))
            leader.add(WHOLE[:HALF])
            self.leader, self.source = leader, Body(second)
            self.body = follower.body(follower.wait(10), length, *part, again=lambda: Response(200, [], self.source))

        def read(self):
            """All of it, where the leader gives up once its half was read."""
            got = []
            try:
                for block in self.body:
                    got.append(block)
                    self.leader.release()
            finally:
                self.leader.release()
                self.body.close()
            return b"".join(got)

    return Growing


def blocks(data, size):
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 999, 5000, 5001, 100_000])
@pytest.mark.parametrize("length", [None, len(WHOLE)])
def test_the_rest_comes_from_the_second_answer(growing_body, size, length):
    growing = growing_body(blocks(WHOLE, size), length)
    assert growing.read() == WHOLE and growing.source.closed == 1


@pytest.mark.parametrize(("start", "end"), [(0, 10), (100, 9000), (4999, 5001), (6000, 7000), (0, len(WHOLE))])
def test_a_part_comes_from_the_second_answer(growing_body, start, end):
    growing = growing_body(blocks(WHOLE, 777), len(WHOLE), start, end)
    if start >= HALF:
        growing.leader.release()
    assert growing.read() == WHOLE[start:end]


@pytest.mark.parametrize(
    "second",
    [
        b"",
        WHOLE[: HALF - 1],
        b"x" + WHOLE[1:],
        WHOLE[: HALF - 1] + b"x" + WHOLE[HALF:],
        WHOLE[1:],
    ],
)
def test_another_second_answer_breaks_the_first(growing_body, second):
    with pytest.raises(TruncatedResponse):
        growing_body(blocks(second, 1000)).read()


def test_a_second_answer_that_is_too_short_breaks_the_first(growing_body):
    with pytest.raises(TruncatedResponse):
        growing_body(blocks(WHOLE[:-1], 1000), len(WHOLE)).read()


def test_a_complete_body_needs_no_second_answer(growing_body):
    growing = growing_body([b"not asked"])
    growing.leader.add(WHOLE[HALF:])
    growing.leader.finish()
    growing.leader.release()
    assert b"".join(growing.body) == WHOLE
    growing.body.close()


def test_a_file_that_lost_its_bytes_breaks_the_answer(growing_body):
    growing = growing_body([WHOLE])
    reading = iter(growing.body)
    assert next(reading)
    os.ftruncate(growing.leader.fd, 200)
    growing.leader.release()
    with pytest.raises(TruncatedResponse):
        list(reading)
    growing.body.close()
