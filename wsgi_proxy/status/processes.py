"""The figures of a process, from Linux's /proc.

Rules:
- On a system without /proc, or for a process that has ended, each figure is None.
Source: proc_pid_stat(5), proc_pid_statm(5).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def process_of(pid: int) -> dict[str, Any]:
    """Return CPU time in seconds, resident memory in bytes and the number of open files of a process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        memory = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return {"cpu_seconds": None, "memory_bytes": None, "open_files": None}
    try:
        files: int | None = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        files = None
    return {"cpu_seconds": (int(stat[11]) + int(stat[12])) / _TICKS, "memory_bytes": memory, "open_files": files}
