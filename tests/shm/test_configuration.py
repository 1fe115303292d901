"""The shared memory of a configuration: the same for the same files, and a kept one for the same path."""

from __future__ import annotations

from pathlib import Path

from wsgi_proxy.config import Config, Server, Upstream
from wsgi_proxy.shm import kept_memory_of, memory_of


def test_a_changed_file_has_other_memory_and_the_same_kept_memory(tmp_path: Path) -> None:
    path = str(tmp_path / "nginx.conf")
    before, after = (Config(path=path, files=((path, text),)) for text in ("a", "b"))
    assert memory_of(before) is memory_of(before)
    assert memory_of(before) is not memory_of(after)
    assert kept_memory_of(before) is kept_memory_of(after)
    assert kept_memory_of(before) is not memory_of(before)


def test_pools_made_in_python_have_one_memory() -> None:
    one, two = (Config(upstreams={"u": Upstream("u", (Server(address),))}) for address in ("h:1", "h:2"))
    assert memory_of(one) is kept_memory_of(one)
    assert memory_of(one) is not memory_of(two)
