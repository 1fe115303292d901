"""A slow client does not hold the upstream."""

from __future__ import annotations

import os
import random
import tempfile
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support import wait_until
from wsgi_proxy.proxy import readahead
from wsgi_proxy.proxy.readahead import ReadAhead, Spool


class Blocks:
    """A body of blocks; `read` counts those that were taken."""

    def __init__(self, blocks: list[bytes], error: Exception | None = None) -> None:
        self._blocks = blocks
        self._error = error
        self.read = 0
        self.closed = False

    def read_block(self) -> bytes:
        if self.read < len(self._blocks):
            self.read += 1
            return self._blocks[self.read - 1]
        if self._error is not None:
            raise self._error
        return b""

    def close(self) -> None:
        self.closed = True


BLOCKS = [bytes([number]) * 1000 for number in range(50)]


def test_a_quick_client_is_not_read_ahead_for() -> None:
    body = Blocks(BLOCKS)
    ahead = ReadAhead(body, 4000, 10_000)
    for number, block in enumerate(ahead, 1):
        assert block == BLOCKS[number - 1] and body.read == number


@pytest.mark.parametrize(("memory", "file_max"), [(4000, 1_000_000), (100_000, 0), (0, 1_000_000)])
def test_a_slow_client_lets_the_upstream_go_and_gets_everything(memory: int, file_max: int) -> None:
    body = Blocks(BLOCKS)
    ahead = ReadAhead(body, memory, file_max)
    first = next(ahead)
    wait_until(lambda: body.read == len(BLOCKS), "the rest to be read while the client holds the first block")
    assert first + b"".join(ahead) == b"".join(BLOCKS)
    ahead.close()


def test_what_waits_is_bounded() -> None:
    body = Blocks(BLOCKS)
    ahead = ReadAhead(body, 3000, 5000)
    got = [next(ahead)]
    # 1 with the client, 3 in memory, 5 in the file, 1 in the reader's hand.
    wait_until(lambda: body.read == 10, "the reader to stop")
    got += list(ahead)
    assert got and b"".join(got) == b"".join(BLOCKS)
    ahead.close()


def test_a_fault_of_the_upstream_comes_after_what_it_sent() -> None:
    body = Blocks(BLOCKS[:5], ValueError("cut"))
    ahead = ReadAhead(body, 100_000, 0)
    received = [next(ahead)]
    wait_until(lambda: body.read == 5, "the reader")

    def rest() -> Iterator[bytes]:
        yield from ahead

    with pytest.raises(ValueError, match="cut"):
        for block in rest():
            received.append(block)
    assert b"".join(received) == b"".join(BLOCKS[:5])


def test_closing_frees_a_waiting_reader() -> None:
    body = Blocks(BLOCKS)
    before = threading.active_count()
    ahead = ReadAhead(body, 1000, 0)
    next(ahead)
    wait_until(lambda: body.read == 3, "the reader to be full")
    ahead.close()
    wait_until(lambda: threading.active_count() <= before, "the reader's end")


def test_a_block_larger_than_all_room_still_passes() -> None:
    spool = Spool(10, 0, "")
    assert spool.put(b"x" * 100)
    spool.end()
    assert spool.get() == b"x" * 100 and spool.get() == b""
    spool.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_leaves_the_memory(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: open("/dev/full", "w+b", buffering=0))
    spool = Spool(10, 1000, "/f")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.extend(iter(spool.get, b"")), daemon=True)
    assert spool.put(b"a" * 10)

    def write() -> None:
        spool.put(b"b" * 10)
        spool.put(b"c" * 10)
        spool.end()

    threading.Thread(target=write, daemon=True).start()
    wait_until(lambda: "failed (28: No space left on device)" in caplog.text, "the refusal")
    reader.start()
    reader.join(30)
    assert b"".join(got) == b"a" * 10 + b"b" * 10 + b"c" * 10
    assert caplog.text.count("No space left") == 1
    spool.close()


def test_a_client_that_comes_back_just_when_the_reader_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two readers of one body would mix its blocks up: in threads the moment is real."""
    monkeypatch.setattr(readahead, "PATIENCE", 0.0005)

    class Lazy(Blocks):
        def read_block(self) -> bytes:
            at = self.read
            time.sleep(0.0003)
            assert self.read == at, "two read at the same time"
            return super().read_block()

    results: list[bool] = []

    def slow_client(seed: int) -> None:
        pause = random.Random(seed)
        ahead = ReadAhead(Lazy(BLOCKS), 4000, 100_000)
        received = []
        for block in ahead:
            received.append(block)
            time.sleep(pause.choice([0, 0, 0.0004, 0.0006]))
        ahead.close()
        results.append(b"".join(received) == b"".join(BLOCKS))

    threads = [threading.Thread(target=slow_client, args=(seed,)) for seed in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [True] * 40
