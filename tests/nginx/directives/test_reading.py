"""The reading of statements: rows, and the lines of faults."""

from __future__ import annotations

import pytest

from wsgi_proxy.config import SourceLine
from wsgi_proxy.nginx.directives.reading import MAX_FAULTS, Reading, TooManyFaults
from wsgi_proxy.nginx.directives.row import Bad, BadValue, Level, Row, Statement


def fail(level: Level, statement: Statement) -> None:
    raise Bad("plain") if statement.args == ["bad"] else BadValue("is wrong")


ROW = Row("a", "http", "TAKE1", fail)
BLOCK = Row("b", "http", "BLOCK NOARGS", lambda level, statement: None)


@pytest.fixture
def reading() -> Reading:
    return Reading({"a": (ROW,), "b": (BLOCK,)}, "/etc/n.conf", "/srv", lambda name: name == "known")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (Statement("c", [], "f", 1), 'unknown directive "c"'),
        (Statement("known", [], "f", 1), 'directive "known" is not supported by wsgi_proxy'),
        (Statement("a", ["x"], "f", 1, []), 'directive "a" is not terminated by ";"'),
        (Statement("b", [], "f", 1), 'directive "b" has no opening "{"'),
        (Statement("a", [], "f", 1), 'invalid number of arguments in "a" directive'),
        (Statement("a", ["bad"], "f", 1), "plain"),
        (Statement("a", ["x"], "f", 1), '"a" directive is wrong'),
    ],
)
def test_a_fault_for_each_way_to_be_wrong(reading: Reading, statement: Statement, message: str) -> None:
    reading.walk(Level("http", reading), [statement])
    assert [(fault.message, fault.file, fault.line) for fault in reading.faults] == [(message, "f", 1)]


def test_the_wrong_block(reading: Reading) -> None:
    reading.walk(Level("main", reading), [Statement("a", [], "f", 1)])
    assert [fault.message for fault in reading.faults] == ['"a" directive is not allowed here']


def test_a_fault_is_told_once_and_too_many_end_it(reading: Reading) -> None:
    for _ in range(3):
        reading.fault("same", SourceLine("f", 1))
    assert len(reading.faults) == 1
    with pytest.raises(TooManyFaults):
        for number in range(MAX_FAULTS):
            reading.fault("other", SourceLine("f", number))
    assert len(reading.faults) == MAX_FAULTS + 1


def test_what_waits_for_the_whole_file(reading: Reading) -> None:
    def late() -> None:
        raise Bad("late")

    reading.later(SourceLine("f", 3), late)
    assert reading.faults == []
    reading.finish()
    assert [str(fault) for fault in reading.faults] == ["f:3: late"]


def test_paths(reading: Reading) -> None:
    assert reading.absolute("a") == "/srv/a"
    assert reading.absolute("a", beside_configuration=True) == "/etc/a"
    assert reading.absolute("/a") == "/a"


def test_faults_are_told_as_people_read_them(reading: Reading) -> None:
    reading.fault('unknown directive "\xc3\xa9"', SourceLine("f", 1))
    reading.fault('open() "/é" failed', SourceLine("f", 2))
    reading.fault('unknown directive "\xe9"', SourceLine("f", 3))
    assert [fault.message[-8:] for fault in reading.faults] == ['tive "é"', '" failed', 'tive "é"']
