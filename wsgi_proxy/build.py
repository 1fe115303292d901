"""The kind of build that runs: compiled by mypyc or pure Python, and the nginx whose directives it reads.

Rules:
- `NGINX_MODULES` and `NGINX_MODULES_ABSENT` name modules as nginx's configure does. A module that nginx builds by default is
  named only where it is absent. Programs that read `nginx -V` (certbot, test suites) decide by them.
- If compiling fails, setup.py writes the reason into a file beside this module. pip hides the output of a build, so the reason
  is logged when the package is used. A build that was requested as pure Python has no such file.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

REASON_FILE = "not_compiled.txt"
#: The version of nginx whose behaviour is the reference.
NGINX_VERSION = "1.31.3"
NGINX_MODULES = (
    "addition", "auth_request", "dav", "gunzip", "gzip_static", "realip", "secure_link", "slice", "ssl", "stub_status", "sub",
    "v2",
)  # fmt: skip
NGINX_MODULES_ABSENT = ("grpc",)


def compiled() -> bool:
    """Return True if the modules of the request path are compiled."""
    found = find_spec(f"{__package__}.exchange")
    return found is not None and not (found.origin or "").endswith(".py")


def failure() -> str:
    """Return the reason why compiling failed; "" if it succeeded or was not requested."""
    try:
        return Path(__file__).with_name(REASON_FILE).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def warning() -> str:
    """Return one line with the reason why compiling failed and the cure; "" if it did not fail."""
    reason = failure()
    if not reason:
        return ""
    return (
        f"the package was installed uncompiled, which about doubles the CPU time of a request: {reason}; install a C compiler "
        "and Python's headers, then `pip install --force-reinstall --no-deps --no-cache-dir wsgi-proxy-nginx`"
    )
