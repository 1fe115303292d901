"""The shared log: every process reads every change, and an interrupted writer loses none."""

from __future__ import annotations

from tests.support.limits import PrivateMemory
from wsgi_proxy.keyval.log import Entry, Log, space


def logs(size: int = 4096) -> tuple[Log, Log]:
    """The logs of two processes on one memory."""
    memory = PrivateMemory()
    return Log(memory, "z", size), Log(memory, "z", size)


def test_a_change_is_read_once_by_another_process() -> None:
    one, two = logs()
    assert not two.changed
    made = [one.append(b"a", b"1", 0, 0), one.append(b"b", None, 5, 7)]
    assert two.changed and not one.changed
    assert two.read() == (False, [(b"a", made[0]), (b"b", made[1])])
    assert made == [Entry(b"1", 0, 0, 1), Entry(None, 5, 7, 2)]
    assert not two.changed and two.read() == (False, [])


def test_room_is_what_records_leave() -> None:
    one, _ = logs(100 * 8)
    one.append(b"key", b"value", 0, 0)
    assert one.room == 800 - space(b"key", b"value")


def test_a_rewrite_replaces_the_contents_everywhere() -> None:
    one, two = logs()
    first = one.append(b"a", b"1", 0, 0)
    two.read()
    one.append(b"b", b"2", 0, 0)
    one.rewrite([(b"a", first)])
    assert two.changed
    assert two.read() == (True, [(b"a", first)])
    two.append(b"c", b"3", 0, 0)
    assert one.read() == (False, [(b"c", Entry(b"3", 0, 0, 4))])


def test_a_record_without_its_end_is_not_read() -> None:
    """A writer is killed before it has set the end: the record's bytes are there, and the next one replaces them."""
    one, two = logs()
    one._write(0, 0, b"lost", Entry(b"x", 0, 0, 1))
    assert two.read() == (False, [])
    two.append(b"kept", b"y", 0, 0)
    assert one.read() == (False, [(b"kept", Entry(b"y", 0, 0, 1))])


def test_a_rewrite_without_its_switch_changes_nothing() -> None:
    one, two = logs()
    entry = one.append(b"a", b"1", 0, 0)
    one._write(1, 0, b"other", Entry(b"x", 0, 0, 9))
    assert two.read() == (False, [(b"a", entry)])


def test_fresh_until_opened() -> None:
    one, two = logs()
    assert one.fresh and two.fresh
    one.open()
    assert not one.fresh and not two.fresh
