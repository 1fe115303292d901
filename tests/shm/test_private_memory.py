"""The shared memory's interface for one process."""

from __future__ import annotations

from wsgi_proxy.shm.private_memory import PrivateMemory


def test_names_are_numbered_when_asked_for_again() -> None:
    memory = PrivateMemory()
    assert [memory.unique("pool/a"), memory.unique("pool/a"), memory.unique("pool/b")] == ["pool/a", "pool/a#2", "pool/b"]


def test_private_memory_has_the_same_interface() -> None:
    memory = PrivateMemory()
    area = memory.area("a", 16).cast("q")
    with memory.lock("a"):
        area[1] = 4
    assert memory.area("a", 16).cast("q")[1] == 4
    assert memory.slot == 0 and memory.living() == [(0, 1)] and not memory.reap()
