"""The kind of build that runs: compiled by mypyc, or pure Python.

Rules:
- A build that was to be compiled and could not be has a file with the reason beside this module (setup.py). pip hides the output
  of a build, so the reason is told when the package is used. A build that was asked to be pure has no such file.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

REASON_FILE = "not_compiled.txt"


def compiled() -> bool:
    """Return True if the modules of the request path are compiled."""
    found = find_spec(f"{__package__}.exchange")
    return found is not None and not (found.origin or "").endswith(".py")


def failure() -> str:
    """Return why the installation could not compile the package; "" if it could, or was not asked to."""
    try:
        return Path(__file__).with_name(REASON_FILE).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def warning() -> str:
    """Return one line about a failure to compile and its cure, "" if there was none."""
    reason = failure()
    if not reason:
        return ""
    return (
        f"the package was installed uncompiled, which about doubles the CPU time of a request: {reason}; install a C compiler "
        "and Python's headers, then `pip install --force-reinstall --no-deps --no-cache-dir wsgi-proxy-nginx`"
    )
