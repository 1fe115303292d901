"""The shared table: records, their order, and the state after an interrupted process."""

from __future__ import annotations

import random
from contextlib import nullcontext

import pytest

from wsgi_proxy.limits.table import OWNER, STAMP, VALUE, CountTable


def make(size: int = 4096) -> CountTable:
    return CountTable(memoryview(bytearray(size)), nullcontext())


def order(table: CountTable) -> list[int]:
    """Every record from the oldest to the newest, by walking the list with the table's own operations."""
    found = []
    while at := table.oldest():
        found.append(table.words[at + VALUE])
        table.remove(at)
    return found


def test_found_again_and_removed() -> None:
    table = make()
    digests = [table.digest(b"%d" % number) for number in range(20)]
    places = [table.insert(digest, number) for number, digest in enumerate(digests)]
    assert [table.find(digest) for digest in digests] == places
    assert [table.words[at + OWNER] for at in places] == list(range(20))
    table.remove(places[7])
    assert table.find(digests[7]) == 0
    assert [table.find(digest) for digest in digests if digest != digests[7]] == [at for at in places if at != places[7]]


def test_several_records_of_one_digest() -> None:
    table = make()
    digest = table.digest(b"key")
    for number in range(1, 4):
        table.insert(digest, number)
        table.insert(table.digest(b"other %d" % number))
    at, owners = table.find(digest), []
    while at:
        owners.append(table.words[at + OWNER])
        at = table.find(digest, at)
    assert sorted(owners) == [1, 2, 3]


def test_order_of_last_use() -> None:
    table = make()
    places = []
    for number in range(5):
        places.append(table.insert(table.digest(b"%d" % number)))
        table.words[places[-1] + VALUE] = number
    table.touch(places[0])
    table.touch(places[3])
    table.touch(places[3])
    assert order(table) == [1, 2, 4, 0, 3]


def test_full_table_takes_nothing_until_something_is_removed() -> None:
    table = make()
    count = 0
    while table.insert(table.digest(b"%d" % count)):
        count += 1
    assert count == table.capacity == 58
    table.remove(table.oldest())
    assert table.insert(table.digest(b"new"))
    assert not table.insert(table.digest(b"newer"))


def test_a_megabyte_holds_what_nginx_says() -> None:
    # "One megabyte zone can keep about 16 thousand 64-byte states" (ngx_http_limit_req_module).
    assert 15_000 < make(1024 * 1024).capacity < 16_384


def test_too_small() -> None:
    with pytest.raises(ValueError, match="4096"):
        make(256)


def test_two_tables_of_one_memory_agree_on_keys() -> None:
    memory = memoryview(bytearray(8192))
    first, second = CountTable(memory, nullcontext()), CountTable(memory, nullcontext())
    first.insert(first.digest(b"key"))
    assert second.find(second.digest(b"key"))
    assert make().digest(b"key") != first.digest(b"key"), "the secret is drawn for each memory"


class Killed(BaseException):
    pass


class KilledAfter:
    """The words of a table whose process is killed before its n-th write."""

    def __init__(self, words: memoryview, writes: int) -> None:
        self.words = words
        self.left = writes

    def __getitem__(self, at: int) -> int:
        return int(self.words[at])

    def __setitem__(self, at: int, value: int) -> None:
        if not self.left:
            raise Killed
        self.left -= 1
        self.words[at] = value


@pytest.mark.parametrize("action", ["insert", "remove", "touch"])
def test_cut_short_at_any_write(action: str) -> None:
    finished = False
    writes = 0
    while not finished:
        writes += 1
        table = make()
        rng = random.Random(writes)
        for number in range(30):
            at = table.insert(table.digest(b"%d" % number))
            table.words[at + STAMP] = number
        for number in rng.sample(range(30), 5):
            table.remove(table.find(table.digest(b"%d" % number)))
        whole = {table.words[at + STAMP] for at in table.records()}
        victim = rng.choice(sorted(whole))
        words = table.words
        table.words = KilledAfter(words, writes)
        try:
            table.begin()
            if action == "insert":
                table.insert(table.digest(b"new"))
            else:
                getattr(table, action)(table.find(table.digest(b"%d" % victim)))
            table.end()
            finished = True
        except Killed:
            pass
        table.words = words
        table.begin()
        others = {stamp for stamp in whole if stamp != victim or action != "remove"}
        for stamp in others:
            at = table.find(table.digest(b"%d" % stamp))
            assert at and words[at + STAMP] == stamp
            table.touch(at)
        # The lists are whole: it can be filled to the last record, and emptied again.
        while table.insert(table.digest(rng.randbytes(8))):
            pass
        assert len(list(table.records())) == table.capacity
        while table.oldest():
            table.remove(table.oldest())
        assert not list(table.records())
        table.end()
    assert writes > 3
