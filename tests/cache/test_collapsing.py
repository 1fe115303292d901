"""Collapsed forwarding: one fetch for all requests that miss, across threads and processes."""

import multiprocessing
import os
import threading
import time

import pytest

from tests.support import wait_until
from tests.support.caching import FRESH, Body, Held, Site, exchange, location
from wsgi_proxy.cache import fill
from wsgi_proxy.cache.fill import FillDirectory
from wsgi_proxy.cache.follower import Follower
from wsgi_proxy.cache.storage.files import FileStorage
from wsgi_proxy.errors import ConnectFailed, TruncatedResponse

processes = multiprocessing.get_context("spawn")


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path / "cache")
    yield site
    site.cache.close()


class Gate(Body):
    """A body that waits in its middle until an event is set."""

    def __init__(self, error=None):
        super().__init__([b"first ", b"last"], error)
        self.go = threading.Event()

    def __iter__(self):
        yield self.blocks[0]
        assert self.go.wait(30)
        if self.error:
            raise self.error
        yield self.blocks[1]


def hold_the_store(monkeypatch):
    """Make entries wait on their way into the store: an event for one that waits, and the event that releases it."""
    storing, go = threading.Event(), threading.Event()
    adopt = FileStorage.adopt

    def slow(*args):
        storing.set()
        assert go.wait(30)
        return adopt(*args)

    monkeypatch.setattr(FileStorage, "adopt", slow)
    return storing, go


def run(count, function):
    """Results of ``count`` concurrent calls, exceptions among them."""
    results = []

    def one():
        try:
            results.append(function())
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, results


def test_concurrent_misses_make_one_fetch_and_all_stream(site):
    gate = Gate()
    site.responses((200, FRESH, gate))
    firsts = []

    def read():
        response = site.ask(exchange("/"))
        blocks = iter(response.body)
        firsts.append(next(blocks))
        body = firsts[-1] + b"".join(blocks)
        response.close()
        return body

    threads, results = run(20, read)
    wait_until(lambda: len(firsts) == 20)
    assert set(firsts) == {b"first "}
    gate.go.set()
    for thread in threads:
        thread.join(30)
    assert results == [b"first last"] * 20
    assert site.fetches == 1


@pytest.mark.parametrize("headers", [[("Cache-Control", "no-store")], [("Cache-Control", "max-age=0")]])
def test_an_uncacheable_answer_frees_all_at_once(site, headers):
    began, go = threading.Event(), threading.Event()
    inside = []

    def slow(method):
        inside.append(method)
        began.set()
        assert go.wait(30)
        if site.fetches > 1:
            # No follower waits for another follower.
            wait_until(lambda: len(inside) == 10)
        return site._maker(200, headers, b"x")(method)

    site.origin.responses = [slow]
    threads, results = run(10, lambda: site.get("/").body)
    assert began.wait(30)
    go.set()
    for thread in threads:
        thread.join(30)
    assert results == [b"x"] * 10


def test_a_failed_fetch_frees_all_at_once(site):
    began, go = threading.Event(), threading.Event()

    def failing(method):
        began.set()
        assert go.wait(30)
        raise ConnectFailed("down")

    site.origin.responses = [failing, site._maker(200, FRESH, b"x")]
    threads, results = run(1, lambda: site.get("/").body)
    assert began.wait(30)
    more, others = run(5, lambda: site.get("/").body)
    go.set()
    for thread in threads + more:
        thread.join(30)
    assert isinstance(results[0], ConnectFailed) and others == [b"x"] * 5


def test_followers_of_a_body_that_breaks_never_look_complete(site):
    gate = Gate(TruncatedResponse("cut"))
    site.responses((200, FRESH, gate))
    firsts = []

    def read():
        response = site.ask(exchange("/"))
        try:
            for block in response.body:
                firsts.append(block)
        finally:
            response.close()

    threads, results = run(4, read)
    wait_until(lambda: len(firsts) == 4)
    gate.go.set()
    for thread in threads:
        thread.join(30)
    assert [type(result) for result in results] == [TruncatedResponse] * 4
    site.responses((200, FRESH, b"whole"))
    assert site.get("/").body == b"whole"


def test_a_leader_that_gives_up_right_after_its_head_leaves_no_empty_response(site, monkeypatch):
    """The leader writes VOID between a follower's wait and its reading of the head: the follower asks the upstream itself."""
    gate = Gate(TruncatedResponse("cut"))
    site.responses((200, FRESH, gate))
    leader = site.ask(exchange("/"))
    body = iter(leader.body)
    next(body)
    wait = Follower.wait

    def wait_and_lose_the_leader(self, timeout):
        block = wait(self, timeout)
        gate.go.set()
        with pytest.raises(TruncatedResponse):
            next(body)
        leader.close()
        return block

    monkeypatch.setattr(Follower, "wait", wait_and_lose_the_leader)
    site.responses((200, FRESH, b"whole"))
    assert site.get("/").body == b"whole"


def test_followers_that_need_another_variant_do_not_take_this_one(site):
    gate = Gate()
    vary = [*FRESH, ("Vary", "A")]
    site.responses((200, vary, gate), (200, vary, b"other"))
    threads, results = run(1, lambda: site.get("/", headers=[("A", "1")]).body)
    wait_until(lambda: site.fetches == 1)
    assert site.get("/", headers=[("A", "2")]).body == b"other"
    gate.go.set()
    threads[0].join(30)
    assert results == [b"first last"]


def test_who_needs_another_variant_meets_others_who_do(site):
    """Before anything is stored the variants' fills are known from the head of the first answer."""
    gates = [Gate(), Gate()]
    vary = [*FRESH, ("Vary", "A")]
    site.responses(*((200, vary, gate) for gate in gates))
    threads, results = run(1, lambda: site.get("/", headers=[("A", "1")]).body)
    wait_until(lambda: site.fetches == 1)
    more, others = run(4, lambda: site.get("/", headers=[("A", "2")]).body)
    wait_until(lambda: site.fetches == 2)
    # A request that arrives during the second fetch follows it, whether the first was stored or not.
    gates[0].go.set()
    threads[0].join(30)
    last, late = run(2, lambda: site.get("/", headers=[("A", "2")]).body)
    gates[1].go.set()
    for thread in more + last:
        thread.join(30)
    assert results + others + late == [b"first last"] * 7 and site.fetches == 2


def test_a_request_overtaken_by_the_first_variant_still_meets_the_others_of_its_own(site, monkeypatch):
    """Between a request's look into the store and its lead another variant is stored, and the request's own is under way."""
    vary, gate = [*FRESH, ("Vary", "A")], Gate()
    join = FillDirectory.join
    threads, results = [], []

    def overtaken(self, *args):
        monkeypatch.setattr(FillDirectory, "join", join)
        site.responses((200, vary, b"one"), (200, vary, gate), (200, vary, b"a fetch too many"))
        site.get("/", headers=[("A", "1")])
        more, _ = run(1, lambda: results.append(site.get("/", headers=[("A", "2")]).body))
        threads.extend(more)
        wait_until(lambda: site.fetches == 2)
        gate.go.set()
        return join(self, *args)

    monkeypatch.setattr(FillDirectory, "join", overtaken)
    results.append(site.get("/", headers=[("A", "2")]).body)
    threads[0].join(30)
    assert results == [b"first last"] * 2 and site.fetches == 2


def test_a_variant_whose_entry_is_on_its_way_into_the_store_is_not_fetched_again(site, monkeypatch):
    """The index exists before the response does; a request that looks in between waits for it."""
    site.responses((200, [*FRESH, ("Vary", "A")], b"once"))
    storing, go = hold_the_store(monkeypatch)
    threads, results = run(1, lambda: site.get("/", headers=[("A", "1")]).body)
    assert storing.wait(30)
    more, others = run(1, lambda: site.get("/", headers=[("A", "1")]).body)
    more[0].join(0.1)
    go.set()
    for thread in threads + more:
        thread.join(30)
    assert results + others == [b"once"] * 2 and site.fetches == 1


def test_a_waiter_whose_patience_ends_goes_alone_and_stores_nothing(site):
    site.location = location(lock_timeout=0.05, lock_age=60.0)
    slow = Held(site._maker(200, FRESH, b"slow"))
    site.origin.responses = [slow, site._maker(200, FRESH, b"alone")]
    threads, results = run(1, lambda: site.get("/").body)
    assert slow.began.wait(30)
    assert site.get("/").body == b"alone"
    slow.go.set()
    threads[0].join(30)
    assert results == [b"slow"] and site.get("/").body == b"slow"


def test_a_lock_that_is_too_old_lets_one_more_through(site):
    site.location = location(lock_timeout=60.0, lock_age=0.05)
    slow = Held(site._maker(200, FRESH, b"slow"))
    site.origin.responses = [slow, site._maker(200, FRESH, b"second")]
    threads, _ = run(1, lambda: site.get("/").body)
    assert slow.began.wait(30)
    assert site.get("/").body == b"second"
    assert site.get("/").word == "HIT"
    slow.go.set()
    threads[0].join(30)


def test_a_lock_that_is_too_old_lets_one_waiter_go_and_not_all(site, monkeypatch):
    site.location = location(lock_timeout=60.0, lock_age=1000.0)
    began, go, second = threading.Event(), threading.Event(), threading.Event()

    def slow(method):
        began.set()
        assert go.wait(30)
        return site._maker(200, FRESH, b"slow")(method)

    def faster(method):
        assert second.wait(30)
        return site._maker(200, FRESH, b"second")(method)

    site.origin.responses = [slow, faster]
    threads, _ = run(1, lambda: site.get("/").body)
    assert began.wait(30)
    waiters, results = run(6, lambda: site.get("/").body)
    zone, looks = site.cache.zones()[0], []
    may_pass = FillDirectory.may_pass
    monkeypatch.setattr(FillDirectory, "may_pass", lambda *args: looks.append(args) or may_pass(*args))
    path = os.path.join(zone.fills.path, os.listdir(zone.fills.path)[0])
    long_ago = time.time() - 2000
    os.utime(path, (long_ago, long_ago))
    wait_until(lambda: site.fetches == 2)
    # The age began anew with the one that went: each of the others looks, and waits on.
    wait_until(lambda: len(looks) >= 20)
    second.set()
    for thread in waiters:
        thread.join(30)
    assert results == [b"second"] * 6 and site.fetches == 2
    go.set()
    threads[0].join(30)


def test_concurrent_revalidations_make_one_request(site):
    tag = [*FRESH, ("ETag", '"a"')]
    site.responses((200, tag, b"x"))
    site.get("/")
    site.now += 61
    slow = Held(site._maker(304, tag, b""))
    site.origin.responses = [slow]
    threads, results = run(8, lambda: site.get("/").body)
    assert slow.began.wait(30)
    time.sleep(0.05)
    slow.go.set()
    for thread in threads:
        thread.join(30)
    assert results == [b"x"] * 8 and site.fetches == 2


def test_a_head_leads_nobody(site):
    slow = Held(site._maker(200, FRESH, b"x"))
    site.origin.responses = [slow, site._maker(200, FRESH, b"x")]
    threads, results = run(1, lambda: site.get("/", "HEAD").status)
    assert slow.began.wait(30)
    assert (site.get("/").word, site.get("/").word) == ("MISS", "HIT")
    slow.go.set()
    threads[0].join(30)
    assert results == [200]


def test_a_condition_right_behind_the_last_byte_finds_the_answer(site, monkeypatch):
    monkeypatch.setattr(fill, "_STORING", 5.0)
    site.responses((200, [*FRESH, ("ETag", '"a"')], b"x"))
    under_way = site.ask(exchange("/"))
    blocks = iter(under_way.body)
    assert next(blocks) == b"x"
    threads, results = run(1, lambda: site.get("/", headers=[("If-None-Match", '"a"')]).status)
    time.sleep(0.005)
    assert list(blocks) == []
    under_way.close()
    threads[0].join(30)
    assert results == [304] and site.fetches == 1


ONLY_IF_CACHED = [("Cache-Control", "only-if-cached")]


@pytest.mark.parametrize("vary", [[], [("Vary", "A")]])
def test_only_if_cached_waits_for_a_whole_response_to_be_stored(site, monkeypatch, vary):
    site.responses((200, [*FRESH, *vary], b"x"))
    storing, go = hold_the_store(monkeypatch)
    under_way = site.ask(exchange("/"))
    blocks = iter(under_way.body)
    assert next(blocks) == b"x"
    # The client has the last byte. Nothing is stored before the block after it is asked for.
    asked, results = run(2, lambda: site.get("/", headers=ONLY_IF_CACHED).status)
    asked[0].join(0.1)
    ending, _ = run(1, lambda: list(blocks))
    assert storing.wait(30)
    late, more = run(2, lambda: site.get("/", headers=ONLY_IF_CACHED).status)
    late[0].join(0.1)
    go.set()
    for thread in asked + ending + late:
        thread.join(30)
    under_way.close()
    assert results + more == [200] * 4 and site.fetches == 1


def test_only_if_cached_does_not_wait_for_a_response_under_way(site):
    gate = Gate()
    site.responses((200, FRESH, gate))
    threads, _ = run(1, lambda: site.get("/"))
    wait_until(lambda: site.fetches)
    assert site.get("/", headers=ONLY_IF_CACHED).status == 504
    gate.go.set()
    threads[0].join(30)


def test_an_entry_without_a_lock_is_stored_before_its_client_has_the_last_byte(site):
    site.location = location(lock=False)
    site.responses((200, FRESH, b"x"))
    under_way = site.ask(exchange("/"))
    blocks = iter(under_way.body)
    assert next(blocks) == b"x"
    assert site.get("/", headers=ONLY_IF_CACHED).body == b"x"
    assert list(blocks) == []
    under_way.close()


def test_lock_off_lets_all_through(site):
    site.location = location(lock=False)
    gate = Gate()
    site.responses((200, FRESH, gate))
    threads, results = run(3, lambda: site.get("/").body)
    wait_until(lambda: site.fetches == 3)
    gate.go.set()
    for thread in threads:
        thread.join(30)
    assert results == [b"first last"] * 3


def _one_of_many(directory, start, results, log):
    site = Site(directory)

    def slow(method):
        with open(log, "a") as file:
            file.write("fetch\n")
        time.sleep(0.3)
        return site._maker(200, FRESH, b"x" * 100_000)(method)

    site.origin.responses = [slow]
    start.wait(30)
    threads, bodies = run(5, lambda: site.get("/").body)
    for thread in threads:
        thread.join(30)
    results.put([len(body) for body in bodies])
    site.cache.close()


def test_twenty_misses_in_four_processes_make_one_fetch(tmp_path):
    start, results = processes.Event(), processes.Queue()
    log = tmp_path / "log"
    children = [processes.Process(target=_one_of_many, args=(tmp_path / "cache", start, results, str(log))) for _ in range(4)]
    for child in children:
        child.start()
    start.set()
    got = [results.get(timeout=30) for _ in children]
    for child in children:
        child.join(30)
    assert got == [[100_000] * 5] * 4
    assert log.read_text() == "fetch\n"
