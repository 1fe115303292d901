"""Builds the package. All metadata is in pyproject.toml; here is what is compiled, and what happens where it cannot be.

Rules:
- The rooms of a request's way are compiled by mypyc, from the very same Python source: a request then costs half the CPU. What
  is left (configuration, commands, what runs now and then) stays as it is, and so does what inherits from a library's class.
- Compiled or not makes no other difference. Without a C compiler, or with WSGI_PROXY_PURE=1, the package is pure Python.
- It is all or nothing: half of the rooms compiled would not find the other half.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

HERE = Path(__file__).parent
GROUP = "wsgi_proxy"
"""mypyc puts all the code into one library, `wsgi_proxy__mypyc`, beside the package."""

COMPILED = """
    message message_answer framing headers uri stream stream_tls green exchange pages logfile
    worker_connection worker_link worker_service worker_listener worker_head worker_body worker_environ worker_fields
    worker_answer worker_socket
    routing locations redirects guard accesslog
    peers rotation ranking balance counts upstream upstream_lineup
    wire wire_route wire_body wire_upload wire_watch
    finishing forwarder forwarding retries metrics proxy wsgi
""".split()


def extensions() -> list[Extension]:
    """What mypyc makes of COMPILED; nothing where mypyc is missing or not wanted."""
    if os.environ.get("WSGI_PROXY_PURE", "") not in ("", "0"):
        return []
    try:
        from mypyc.build import mypycify
    except ImportError:
        print("wsgi_proxy: mypy is not installed: nothing is compiled", file=sys.stderr)
        return []
    # Nothing of the machine's: the same source gives the same code whatever else is installed.
    options = ["--config-file=", "--no-site-packages", "--ignore-missing-imports", "--python-version=3.10"]
    paths = [str(Path("wsgi_proxy", f"{name}.py")) for name in COMPILED]
    made: list[Extension] = mypycify([*options, *paths], opt_level="2", debug_level="0", group_name=GROUP)
    return made


class AllOrNothing(build_ext):
    """Builds all extensions, or none, with one line that says why."""

    def run(self) -> None:
        try:
            super().run()
        except (CompileError, LinkError, OSError, subprocess.SubprocessError) as error:
            print(f"wsgi_proxy: no working C compiler: nothing is compiled ({error})", file=sys.stderr)
            for extension in self.extensions:
                for where in (self.get_ext_fullpath(extension.name), self.inplace_path(extension)):
                    Path(where).unlink(missing_ok=True)
            self.extensions = []
            self.distribution.ext_modules = []

    def inplace_path(self, extension: Extension) -> str:
        """Where an editable install would find it."""
        return self.get_ext_filename(extension.name)


if __name__ == "__main__":
    os.chdir(HERE)
    setup(ext_modules=extensions(), cmdclass={"build_ext": AllOrNothing})
