"""Inspection of workers for the tests of hostile peers and of streams: the resources that they hold.

On a signal, a `sitecustomize` module in the worker writes a file with its running greenlets, its client and upstream connections
and its unfinished bodies. The numbers of descriptors come from /proc.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import ROOT, Running, fetch, wait_until

ASK = signal.SIGRTMIN + 5

_INSIDE = """
import gc, json, os, signal, sys

def tell(number, frame):
    from greenlet import greenlet
    found = dict.fromkeys(("busy", "greenlets", "clients", "upstreams", "pooled", "forwarded", "leases", "spools"), 0)
    parked = 0
    gc.unfreeze()  # what a worker had at its start is not told otherwise
    for each in gc.get_objects():
        name = type(each).__name__
        if isinstance(each, greenlet):
            found["greenlets"] += not each.dead
        elif name == "Crew":
            found["busy"] += each.busy
            parked += len(each._free)
        elif name == "Connection" and hasattr(each, "listener"):
            found["clients"] += each.stream.fileno() >= 0
        elif name == "Wire" and hasattr(each, "pooled"):
            found["upstreams"] += each.stream.fileno() >= 0
            found["pooled"] += each.pooled
        elif name == "Forwarded":
            found["forwarded"] += not each._closed
        elif name == "Lease":
            found["leases"] += not each.settled
        elif name == "Spool":
            found["spools"] += not each._closed
    found["greenlets"] -= parked
    splicing = sys.modules.get("wsgi_proxy.transport.splice")
    found["kept_pipes"] = len(splicing._pipes) if splicing else 0
    path = os.path.join(os.environ["TOLD"], str(os.getpid()))
    with open(path + ".new", "w") as file:
        json.dump(found, file)
    os.rename(path + ".new", path)

signal.signal(%d, tell)
"""


def inside(folder: Path) -> dict[str, str]:
    """Return the environment for a proxy whose workers can be asked; they write their reports into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_INSIDE % ASK)
    path = [str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, path)), "TOLD": str(folder)}


def ask(pid: int, folder: Path) -> dict[str, int]:
    """The resources that a worker holds."""
    path = folder / str(pid)
    path.unlink(missing_ok=True)
    os.kill(pid, ASK)
    wait_until(path.exists, f"worker {pid} to tell")
    told: dict[str, int] = json.loads(path.read_text())
    return told


def open_files(pid: int) -> dict[str, int]:
    """Return the number of open sockets, unnamed files and event descriptors of a process."""
    found = {"sockets": 0, "unnamed": 0, "events": 0, "pipes": 0}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            continue  # closed in this moment
        found["sockets"] += target.startswith("socket:")
        found["unnamed"] += target.endswith("(deleted)")
        found["pipes"] += target.startswith("pipe:")
        found["events"] += "[eventfd]" in target
    return found


def memory(pid: int) -> int:
    """The process's share of memory in bytes (PSS)."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def holdings(proxy: Running, folder: Path) -> list[dict[str, int]]:
    """Return the resources of each worker without its idle upstream connections."""
    held = []
    for pid in proxy.children():
        told = ask(pid, folder)
        files = open_files(pid)
        files["sockets"] -= told["pooled"]
        told["upstreams"] -= told.pop("pooled")
        files["pipes"] -= 2 * told.pop("kept_pipes")
        held.append({**told, **files})
    return held


@contextmanager
def nothing_left(proxy: Running, folder: Path, warm: Sequence[str] = ("/",) * 4) -> Iterator[None]:
    """Assert that no worker holds more after the block than before it. `warm` requests open persistent resources first."""
    wait_until(lambda: proxy.children() and all(fetch(proxy.port, path).status for path in warm), "the workers")
    before: Any = None

    def at_rest() -> bool:
        nonlocal before
        before = holdings(proxy, folder)
        return not any(held["busy"] or held["clients"] for held in before)

    wait_until(at_rest, "the workers to be at rest")
    yield
    after: Any = None

    def same() -> bool:
        nonlocal after
        after = holdings(proxy, folder)
        return all(held[name] <= max(each[name] for each in before) for held in after for name in held)

    try:
        wait_until(same, "the workers to let go of everything")
    except AssertionError as error:
        raise AssertionError(f"{error}: before {before}, after {after}") from None
