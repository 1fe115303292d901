"""Fills: one process leads and the others follow, whatever happens to the leader."""

import multiprocessing
import os
import signal
import time

import pytest

from tests.support.caching import stored
from wsgi_proxy.cache.fill import Fill, join, private_fill
from wsgi_proxy.cache.follower import Follower, GrowingBody
from wsgi_proxy.cache.storage.format import COMPLETE, load
from wsgi_proxy.errors import TruncatedResponse

processes = multiprocessing.get_context("spawn")


def test_one_leads_and_the_others_follow(tmp_path):
    leader = join(str(tmp_path), "f")
    follower = join(str(tmp_path), "f")
    assert isinstance(leader, Fill) and isinstance(follower, Follower)
    assert isinstance(join(str(tmp_path), "other"), Fill)
    assert follower.under_way() and follower.wait(0.01) is None and not follower.died()
    leader.begin(stored())
    block = follower.wait(1)
    assert block is not None and load(follower.fd, whole=False)[1].headers == [("A", "1")]
    body = iter(follower.body(block, None))
    leader.add(b"one")
    assert next(body) == b"one"
    leader.add(b"two")
    leader.finish()
    assert list(body) == [b"two"]
    block, found = load(leader.fd)
    assert (block.state, found.body) == (COMPLETE, b"onetwo")
    leader.release()


def test_who_gives_up_frees_its_followers(tmp_path):
    leader, follower, late = (join(str(tmp_path), "f") for _ in range(3))
    leader.release()
    assert follower.wait(5) is None and not follower.died()
    assert isinstance(join(str(tmp_path), "f"), Fill)
    late.close()
    follower.close()


def test_who_gives_up_in_the_middle_breaks_the_bodies_that_follow(tmp_path):
    leader, follower = join(str(tmp_path), "f"), join(str(tmp_path), "f")
    leader.begin(stored())
    leader.add(b"one")
    body = follower.body(follower.wait(1), None)
    blocks = iter(body)
    assert next(blocks) == b"one"
    leader.release()
    with pytest.raises(TruncatedResponse):
        next(blocks)
    body.close()


def test_a_fill_of_ones_own_meets_nobody(tmp_path):
    one, two = private_fill(str(tmp_path)), private_fill(str(tmp_path))
    assert one.path != two.path and one.name == ""
    one.release()
    one.release()
    two.release()
    assert not os.listdir(tmp_path)


def test_a_body_ends_where_its_length_says(tmp_path):
    leader = private_fill(str(tmp_path))
    leader.begin(stored())
    leader.add(b"0123456789")
    growing = GrowingBody(Follower(os.dup(leader.fd)), leader.body_offset, 6, 2)
    assert b"".join(growing) == b"2345"
    growing.close()
    leader.release()


def _lead_and_wait(directory, ready, how):
    fill = join(directory, "f")
    if how == "filling":
        fill.begin(stored())
        fill.add(b"half")
    ready.set()
    time.sleep(60)


@pytest.mark.parametrize("how", ["claimed", "filling"])
def test_a_killed_leader_is_noticed(tmp_path, how):
    ready = processes.Event()
    child = processes.Process(target=_lead_and_wait, args=(str(tmp_path), ready, how))
    child.start()
    assert ready.wait(30)
    follower = join(str(tmp_path), "f")
    assert isinstance(follower, Follower)
    if how == "filling":
        body = follower.body(follower.wait(5), None)
        blocks = iter(body)
        assert next(blocks) == b"half"
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    if how == "filling":
        with pytest.raises(TruncatedResponse):
            next(blocks)
        body.close()
    else:
        assert follower.wait(5) is None and follower.died()
        follower.close()
    successor = join(str(tmp_path), "f")
    assert isinstance(successor, Fill) and os.fstat(successor.fd).st_size == 0
    successor.release()


# --- in the cache ---------------------------------------------------------------------------------------------------------
