"""Areas of shared memory: early allocation, the second file, and rows, in a file system of a few pages where possible."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from wsgi_proxy.shm.areas import PAGE, SPAN, second_of
from wsgi_proxy.shm.shared_memory import SharedMemory


def small(size: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code where /dev/shm has `size`; skips where that cannot be arranged."""
    mount = f'mount -t tmpfs -o size={size} none /dev/shm && exec "$0" -c "$1"'
    done = subprocess.run(["unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt"], capture_output=True)
    if done.returncode:
        pytest.skip("no file system may be mounted here")
    command = ["unshare", "-m", "sh", "-c", mount, sys.executable, code]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)


@pytest.mark.parametrize("size", ["4k", "64k", "1m"])
def test_what_the_memory_file_system_has_no_room_for_goes_to_the_temporary_folder(size: str) -> None:
    code = """
import os
from wsgi_proxy.shm import SharedMemory
memory = SharedMemory.open("k")
areas = [memory.area(f"{n}", 20_000) for n in range(100)]
rows = memory.area("rows", 256 * 5000, 5000)
print(memory.slot)
for area in areas: area[:] = b"x" * 20_000
rows[:5000] = b"y" * 5000
if not (child := os.fork()):
    for area in areas: assert area[-1:] == b"x"
    memory.area("late", 300_000)[:] = b"z" * 300_000
    other = memory.slot
    rows[other * 5000 : other * 5000 + 5000] = b"y" * 5000
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert memory.area("late", 300_000)[-1:] == b"z"
"""
    done = small(size, code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_no_room_anywhere_is_an_error_and_no_signal() -> None:
    code = """
import tempfile
tempfile.tempdir = "/dev/shm"
from wsgi_proxy.shm import SharedMemory
memory = SharedMemory.open("k")
try:
    for n in range(20): memory.area(f"{n}", 100_000)[:] = b"x" * 100_000
except OSError as error:
    print(error)
"""
    done = small("1m", code)
    assert done.returncode == 0 and "no room for 100000 bytes of shared memory in /dev/shm and /dev/shm" in done.stdout, done


def test_rows_get_room_when_slots_are_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SharedMemory.open("rows")
    rows = memory.area("rows", 256 * 100 * PAGE, 100 * PAGE)
    before = os.stat(memory.path).st_blocks
    memory._areas.add_row(3)
    assert os.stat(memory.path).st_blocks == before
    memory._areas.add_row(200)
    assert os.stat(memory.path).st_blocks == before + 100 * PAGE // 512
    del rows
    memory.path.unlink()


def test_a_claim_without_room_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SharedMemory.open("undone")

    def full(slot: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr(memory._areas, "add_row", full)
        with pytest.raises(OSError, match="full"):
            _ = memory.slot
        assert memory.living() == []
    assert memory.slot == 0 and memory.living() == [(0, 1)]
    memory.path.unlink()


def test_the_second_file_has_the_firsts_name(tmp_path: Path) -> None:
    assert second_of(tmp_path / "wsgi-proxy-1").name == "wsgi-proxy-1.more"


def test_thousands_of_areas_cost_a_few_descriptors() -> None:
    memory = SharedMemory.open("spans")
    memory.area("first", 100)
    before = len(os.listdir("/proc/self/fd"))
    areas = [memory.area(f"{number}", 8 * 5000 * 256, 8 * 5000) for number in range(100)]
    large = memory.area("large", 2 * SPAN + 5)
    assert len(os.listdir("/proc/self/fd")) - before <= len(areas) // 3 + 2
    for number, area in enumerate(areas):
        area[:3] = b"%03d" % number
    large[-3:] = b"end"
    assert [bytes(area[:3]) for area in areas] == [b"%03d" % number for number in range(100)]
    assert bytes(memory.area("first", 100)) == bytes(100) and bytes(large[:3]) == bytes(3)
    memory.path.unlink()
