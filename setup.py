"""Build the package. The metadata is in pyproject.toml. This file lists the compiled modules and falls back to pure Python.

Rules:
- mypyc compiles the modules of the request path from the Python source. Configuration, commands and subclasses of library classes
  stay interpreted.
- Compilation changes only the speed. Without a C compiler, or with WSGI_PROXY_PURE=1, the package is pure Python.
- Either all modules of COMPILED are compiled or none, because they share one C library.
- Each module is one C file of the library, and all processors compile them. One file for all takes three times as long and is
  not faster.
- mypyc runs only inside `build_ext`, not for metadata, source distributions and editable installs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

HERE = Path(__file__).parent
PACKAGE = "wsgi_proxy"
GROUP = "wsgi_proxy"
"""The name of mypyc's group. Its code is one library, `wsgi_proxy__mypyc`, beside the package."""

COMPILED = """
    http/syntax http/request_lines http/request http/response http/environ http/framing http/headers http/uri http/pages
    net/stream net/plain_stream net/layered_stream net/tls_records net/tls_stream net/gevent_side net/gevent_stream
    clocks arrival exchange response
    gateway/protocols gateway/records gateway/fastcgi gateway/uwsgi gateway/memcached gateway/response gateway/variables
    logs/logfile logs/accesslog logs/line variables/clock variables/request variables/response
    worker/connection worker/opening worker/counts worker/link worker/sending worker/crew worker/service worker/listener
    worker/request/head worker/request/body worker/request/environ worker/settings worker/socket
    worker/response/fields worker/response/head worker/response/writer
    worker/http2/body worker/http2/connection worker/http2/fields worker/http2/frames worker/http2/gate worker/http2/hpack
    worker/http2/huffman worker/http2/open_streams worker/http2/output worker/http2/requests worker/http2/response
    worker/http2/stream
    routing/router routing/sites routing/locations routing/redirects
    access/guard access/body_limit
    balance/peers balance/rotation balance/ranking balance/policies balance/least_conn balance/random_choice balance/custom
    upstream/counts upstream/pool upstream/pool_state upstream/lineup
    transport/wire transport/reply transport/sending transport/route transport/response_body transport/splice
    transport/request_body transport/client_watch
    proxy/response_headers proxy/forwarder proxy/targets proxy/location proxy/attempts proxy/upstream_body proxy/upstream_request
    proxy/request_body proxy/proxy
    cache/cache cache/lookup cache/response cache/zone cache/rfc9111/freshness cache/rfc9111/vary cache/storage/memory
    cache/plan cache/storage/generations
    filters/pipeline filters/fields filters/accepting filters/gzip
    status/metrics status/counter status/histogram
    tunnel/pump
    wsgi/app wsgi/arrival wsgi/delivery
""".split()
"""Paths of the compiled modules, relative to the package and without `.py`."""

REASON_FILE = f"{PACKAGE}/not_compiled.txt"
"""The file with the reason why a build could not be compiled. `wsgi_proxy.build` reads it."""


def wanted() -> bool:
    """Return True unless WSGI_PROXY_PURE asks for pure Python."""
    return os.environ.get("WSGI_PROXY_PURE", "") in ("", "0")


def extensions() -> list[Extension]:
    """Return the extensions that mypyc makes of COMPILED. Raises ImportError if mypyc is missing."""
    from mypyc.build import mypycify

    # Ignore settings and packages of this machine, so that the same source always gives the same code.
    options = ["--config-file=", "--no-site-packages", "--ignore-missing-imports", "--python-version=3.10"]
    paths = [str(Path(PACKAGE, f"{name}.py")) for name in COMPILED]
    made: list[Extension] = mypycify([*options, *paths], opt_level="2", debug_level="0", group_name=GROUP, multi_file=True)
    for extension in made:
        # The files of the library call each other directly. Only the modules' start functions, which declare it, are exported.
        extension.extra_compile_args += ["-fvisibility=hidden"]
    return made


def in_parallel(compile_all: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """Return a function that compiles the sources of an extension at the same time, on all processors.

    `compile_all` is the compiler's own function, which takes one source after the other.
    """

    def compile_sources(sources: list[str], *args: Any, **options: Any) -> list[str]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            made = pool.map(lambda source: compile_all([source], *args, **options), sources)
            return [path for paths in made for path in paths]

    return compile_sources


class AllOrNothing(build_ext):
    """Build all extensions or none. Without them the build is a pure Python package that records the reason."""

    def run(self) -> None:
        inplace = self.inplace
        reason = ""
        try:
            self._replace_extensions([] if self.editable_mode else extensions(), inplace)
            super().run()
        except ImportError as error:
            reason = f"mypy is not installed ({error})"
        except (CompileError, LinkError, OSError, subprocess.SubprocessError) as error:
            reason = f"no working C compiler ({error})"
        note = Path(self.build_lib, REASON_FILE)
        note.unlink(missing_ok=True)
        if reason:
            print(f"wsgi_proxy: {reason}: nothing is compiled", file=sys.stderr)
            if not inplace:
                note.parent.mkdir(parents=True, exist_ok=True)
                note.write_text(f"{' '.join(reason.split())}\n")
        if reason or self.editable_mode:
            self._become_pure()

    def build_extensions(self) -> None:
        self.compiler.compile = in_parallel(self.compiler.compile)  # type: ignore[method-assign]
        super().build_extensions()

    def _replace_extensions(self, made: list[Extension], inplace: bool) -> None:
        """Replace the placeholder extension of `setup` by `made`, and read the command's options again."""
        self.distribution.ext_modules = made
        self.distribution.reinitialize_command(self)
        self.ensure_finalized()
        self.inplace = inplace

    def _become_pure(self) -> None:
        for extension in self.extensions:
            for path in (self.get_ext_fullpath(extension.name), self.get_ext_filename(extension.name)):
                Path(path).unlink(missing_ok=True)
        self.extensions = []
        self.distribution.ext_modules = []
        wheel = self.distribution.get_command_obj("bdist_wheel", create=False)
        if wheel is not None:
            # bdist_wheel has chosen the tag before the build.
            wheel.root_is_pure = True


if __name__ == "__main__":
    os.chdir(HERE)
    # The placeholder makes setuptools run build_ext, where `AllOrNothing` replaces it.
    placeholder = [Extension(f"{GROUP}__mypyc", [])] if wanted() else []
    setup(ext_modules=placeholder, cmdclass={"build_ext": AllOrNothing})
