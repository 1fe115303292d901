"""Generations and locks: visible to every process at once, released by the kernel."""

import multiprocessing
import os
import signal

import pytest

from wsgi_proxy.cache.storage import generations as cacheshare
from wsgi_proxy.cache.storage.generations import LockTimeout, Share

processes = multiprocessing.get_context("spawn")
DIGEST = "abcd" + "0" * 28


def test_a_change_is_seen_through_every_mapping(tmp_path):
    one, two = Share(str(tmp_path)), Share(str(tmp_path))
    slot = Share.slot_of(DIGEST)
    before, purged = one.states[slot], one.purged(slot)
    two.changed(slot)
    assert one.states[slot] != before and one.purged(slot) == purged
    before = one.states[slot]
    two.invalidated(slot)
    assert one.states[slot] != before and one.purged(slot) == purged + 1
    before = [one.states[n] for n in (0, 7, 65535)]
    two.invalidate_all()
    assert all(one.states[n] != old for n, old in zip((0, 7, 65535), before, strict=True))
    one.close()
    two.close()


def test_counters_wrap(tmp_path):
    share = Share(str(tmp_path))
    share._counters[0] = share._counters[1] = 2**32 - 1
    share.invalidated(0)
    assert share.states[0] == 0


def test_generations_survive_a_restart(tmp_path):
    share = Share(str(tmp_path))
    share.invalidated(5)
    share.close()
    assert Share(str(tmp_path)).purged(5) == 1


def test_a_key_in_the_place_of_another_does_not_pass_for_it(tmp_path):
    share = Share(str(tmp_path))
    one, same_place = "0" * 12 + "1" + "0" * 19, "0" * 12 + "2" + "0" * 19
    share.let_pass(one, 50.0)
    assert (share.passed_until(one), share.passed_until(same_place)) == (50.0, 0.0)
    share.let_pass(same_place, 60.0)
    assert (share.passed_until(one), share.passed_until(same_place)) == (0.0, 60.0)
    share.close()


def test_uses_are_counted_for_all(tmp_path):
    one, two = Share(str(tmp_path)), Share(str(tmp_path))
    assert [one.used(DIGEST), two.used(DIGEST), one.used("f" * 32)] == [1, 2, 1]
    for _ in range(300):
        last = one.used(DIGEST)
    assert last == 255


def test_sizes_are_estimates_until_a_sweep(tmp_path):
    share = Share(str(tmp_path))
    share.stored(100)
    share.stored(-30)
    assert share.size == 70
    share.swept(1000, 3, 5.0)
    share.stored(10)
    assert (share.size, share.entries, share.swept_at) == (1010, 3, 5.0)


def test_the_lock_excludes_and_gives_up_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(cacheshare, "LOCK_PATIENCE", 0.05)
    one, two = Share(str(tmp_path)), Share(str(tmp_path))
    with one.lock(3):
        for other in (one, two):
            with pytest.raises(LockTimeout), other.lock(3):
                pass
        with two.lock(4):
            pass
    with two.lock(3):
        pass


def _add(directory, count):
    share = Share(directory)
    for _ in range(count):
        with share.lock(9):
            share.invalidated(9)
    os._exit(0)


def _hold(directory, ready):
    share = Share(directory)
    with share.lock(9):
        ready.set()
        signal.pause()


def _fork_and_add(share):
    """A fork inherits the parent's descriptors: its locks must be its own all the same."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        for _ in range(300):
            with share.lock(9):
                share.invalidated(9)
        status = 0
    finally:
        os._exit(status)


def test_no_change_is_lost_between_processes_and_after_a_fork(tmp_path):
    share = Share(str(tmp_path))
    with share.lock(9):
        share.invalidated(9)
    forked = [_fork_and_add(share) for _ in range(2)]
    children = [processes.Process(target=_add, args=(str(tmp_path), 300)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
    for pid in forked:
        assert os.waitpid(pid, 0)[1] == 0
    assert share.purged(9) == 1201


def test_a_killed_holder_lets_go(tmp_path):
    ready = processes.Event()
    child = processes.Process(target=_hold, args=(str(tmp_path), ready))
    child.start()
    assert ready.wait(30)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    with Share(str(tmp_path)).lock(9):
        pass
