"""Processes: start them, read their CPU time and memory, stop them by their ids.

Rules:
- Ports lie below the kernel's range for outgoing connections, so that no connection takes a port before its server does.
- Only processes of sessions that the bench started are signalled.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
_used: set[int] = set()


def free_port() -> int:
    """Return a TCP port from 10000 to 31999 that is free on every local address and was not returned before."""
    for _ in range(1000):
        port = random.randrange(10000, 32000)
        if port in _used:
            continue
        with socket.socket() as sock:
            try:
                sock.bind(("", port))
            except OSError:
                continue
        _used.add(port)
        return port
    raise RuntimeError("no free port was found")


def tree(pid: int) -> list[int]:
    """Return the ids of a process and its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{entry}/stat").read_text()
                parents.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        todo += parents.get(one, [])
    return found


def cpu(pids: list[int]) -> float:
    """Return the user and system time of processes, seconds."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory(pids: list[int]) -> float:
    """Return the proportional set size of processes, MB."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024


def memory_alone(pids: list[int]) -> float:
    """Return the proportional set size, MB, that processes would have if no other process mapped the same files.

    PSS divides a page of a library by all processes that map it. The bench and its servers run the same interpreter and the
    same nginx as some contenders, so plain PSS depends on the other processes of the machine. Here each part of a file, or of
    memory that the processes share, counts once, with its largest resident size.
    """
    anonymous = 0
    files: dict[tuple[str, ...], int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss_Anon:"):
                    anonymous += int(line.split()[1])
            for key, resident in _file_mappings(pid):
                files[key] = max(files.get(key, 0), resident)
    return (anonymous + sum(files.values())) / 1024


def _file_mappings(pid: int) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield (permissions, offset, device, inode) and the resident KB of each mapping of a file or of shared memory."""
    key: tuple[str, ...] = ()
    resident = 0
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, *values = line.split()
        if not name.endswith(":"):
            key = tuple(values[:4])
        elif name == "Rss:":
            resident = int(values[0])
        elif name == "Anonymous:" and key[-1] != "0":
            yield key, resident - int(values[0])


def program(name: str) -> str | None:
    """Return the path of a program in this environment or on PATH; None if it is not installed."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


def raise_file_limit(wanted: int) -> int:
    """Raise the limit of open files of this process, and of its future children, towards `wanted`; return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    new = max(soft, wanted if unlimited else min(wanted, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (new, hard))
    return new


def wait_for_port(port: int, process: subprocess.Popen[bytes], patience: float = 30.0) -> None:
    """Wait until a process accepts on a port. Raise RuntimeError if it ends or does not accept in time."""
    until = time.monotonic() + patience
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"nothing accepts on port {port}")


@contextlib.contextmanager
def running(
    command: list[str], ports: list[int], log: Path, env: dict[str, str] | None = None, cwd: Path | None = None
) -> Iterator[int]:
    """Run a server in a new session until the block ends; yield its process id once it accepts on every port."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    try:
        try:
            for port in ports:
                wait_for_port(port, process)
        except RuntimeError as error:
            raise RuntimeError(f"{command[0]}: {error}: {log.read_text(errors='replace')[-800:]}") from error
        yield process.pid
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and the processes of its session: SIGTERM, after ten seconds SIGKILL."""
    pids = tree(process.pid)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    for number in (signal.SIGTERM, signal.SIGKILL):
        left = [pid for pid in pids if _in_session(pid, process.pid)]
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        until = time.monotonic() + 2
        while any(_in_session(pid, process.pid) for pid in left) and time.monotonic() < until:
            process.poll()
            time.sleep(0.02)
    process.wait()


def _in_session(pid: int, session: int) -> bool:
    try:
        return os.getsid(pid) == session
    except ProcessLookupError:
        return False
