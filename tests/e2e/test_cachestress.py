"""Readers, writers, purgers, a sweeper and SIGKILL on one storage: no response is mixed, partial or purged.

WSGI_PROXY_STRESS_SECONDS says for how long (default 6).
"""

import fcntl
import mmap
import multiprocessing
import os
import random
import signal
import struct
import time
import zlib

import pytest

from tests.support.caching import Body, Site, location
from wsgi_proxy.config import CacheZone
from wsgi_proxy.errors import TruncatedResponse
from wsgi_proxy.response import Response

SECONDS = float(os.environ.get("WSGI_PROXY_STRESS_SECONDS", "6"))
KEYS = 12
WORKERS = 4
SIZES = (40, 20_000, 90_000, 700_000)
processes = multiprocessing.get_context("fork")


class Truth:
    """The origin's state: for each key the version in its responses, and the oldest one that a later request may see."""

    def __init__(self, lock):
        self.lock = lock
        self.view = memoryview(mmap.mmap(-1, KEYS * 16 + 64)).cast("q")

    def version(self, key):
        return self.view[key * 2]

    def change(self, key):
        # A file's lock, which the kernel takes from the killed.
        with open(self.lock, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.view[key * 2] += 1
            return self.view[key * 2]

    def floor(self, key):
        return self.view[key * 2 + 1]

    def raise_floor(self, key, version):
        with open(self.lock, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.view[key * 2 + 1] = max(self.view[key * 2 + 1], version)


def content(key, version):
    size = SIZES[(key + version) % len(SIZES)]
    seed = struct.pack("<qq", key, version)
    return (seed * (size // 16 + 1))[:size]


def origin(truth, random_, key):
    """A response of the current version, marked by fields and body; sometimes slow."""

    def make(method):
        version = truth.version(key)
        if random_.random() < 0.3:
            time.sleep(random_.random() * 0.02)
        body = content(key, version)
        cut = random_.randrange(len(body))
        blocks = [body[:cut], body[cut:]]
        broken = TruncatedResponse("cut") if random_.random() < 0.03 else None
        fields = [("Cache-Control", f"max-age={random_.choice((0, 1, 60))}"), ("ETag", f'"{key}-{version}"')]
        fields += [("X-Version", str(version)), ("X-Sum", str(zlib.crc32(body)))]
        if key % 3 == 0:
            fields.append(("Vary", "A"))
        return Response(200, fields, Body([block for block in blocks if block], broken), length=len(body))

    return make


def check(truth, key, floor, got):
    version = int(got["X-Version"])
    assert version >= floor, f"key {key}: version {version} is back, {floor} was announced ({got.word})"
    assert got.body == content(key, version), f"key {key}: fields of {version}, body of {len(got.body)} bytes differs"


def worker(directory, truth, seed, failures):
    random_ = random.Random(seed)
    site = Site(directory, zone=CacheZone("z", directory, size=200_000, max_size=20_000_000), spawn=in_thread)
    site.cache.clock = site.cache.background.clock = time.time
    fetching, purging = location(), location(purge=(lambda x: "1",))
    try:
        while True:
            key = random_.randrange(KEYS)
            target, headers = f"/{key}", [("A", random_.choice("xyz"))]
            choice = random_.random()
            site.origin.responses = [origin(truth, random_, key)]
            site.location = fetching
            if choice < 0.9:
                floor = truth.floor(key)
                try:
                    check(truth, key, floor, site.get(target, headers=headers))
                except TruncatedResponse:
                    continue
            elif choice < 0.97:
                version = truth.change(key)
                if random_.random() < 0.5:
                    site.origin.responses = [lambda method: Response(204)]
                    site.get(target, "POST")
                else:
                    site.location = purging
                    site.get(target)
                truth.raise_floor(key, version)
            else:
                site.cache.sweep(time.time())
    except Exception as error:
        failures.put(f"{type(error).__name__}: {error}")
        raise


def in_thread(function):
    import threading

    threading.Thread(target=function, daemon=True).start()


@pytest.mark.timeout(SECONDS + 170)
def test_nothing_mixed_partial_or_resurrected(tmp_path):
    truth, failures = Truth(tmp_path / "lock"), processes.Queue()
    directory = str(tmp_path / "cache")
    random_ = random.Random(1)
    children = [start(directory, truth, seed, failures) for seed in range(WORKERS)]
    deadline, killed = time.monotonic() + SECONDS, 0
    try:
        while (time.monotonic() < deadline or killed < 10) and failures.empty():
            time.sleep(0.15)
            at = random_.randrange(WORKERS)
            os.kill(children[at].pid, signal.SIGKILL)
            children[at].join()
            killed += 1
            children[at] = start(directory, truth, 100 + killed, failures)
    finally:
        for child in children:
            child.kill()
            child.join()
    assert failures.empty(), failures.get()
    # The entries that are there now can be read.
    site = Site(directory)
    zone = site.cache.zones()[0]
    for entry in zone.entries():
        version = int(next(value for name, value in entry.headers if name == "X-Version"))
        key = int(entry.uri[1:])
        data = entry.body
        if data is None:
            with open(entry.path, "rb") as file:
                file.seek(entry.body_offset)
                data = file.read(entry.body_length)
        assert data == content(key, version) and version >= truth.floor(key)
    site.cache.close()


def start(directory, truth, seed, failures):
    child = processes.Process(target=worker, args=(directory, truth, seed, failures), daemon=True)
    child.start()
    return child
