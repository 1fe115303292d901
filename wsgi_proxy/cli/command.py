"""The command `wsgi-proxy`: nginx's own flags, and sub-commands.

Rules:
- Flags, signals, exit statuses and messages are nginx's, with the name of this program. A fault names its file and line.
- Modules are imported when they are needed: `-v` imports no gevent, `-t` no worker.
- Without -p the prefix is the directory of the configuration file, by default ./nginx.conf. With -p a relative -c is below the
  prefix, as in nginx.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

from .. import __version__, build
from ..errors import ConfigError, Fault
from . import places
from .flags import (
    COMMANDS,
    NAME,
    SIGNALS,
    USAGE,
    Options,
    UsageError,
    parse_flags,
    take_configuration,
)

if TYPE_CHECKING:
    from ..config import Config

_LIBRARIES = ("gunicorn", "gevent", "requests", "urllib3", "werkzeug", "cachecontrol", "crossplane", "h2", "redis")


ROOT_WARNING = 'without "user" the workers run as root; name an account, such as "user www-data;"'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    _open_closed_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["help"]:
        words = [*words[1:2], "-h"] if len(words) > 1 else ["--help"]
    if words and words[0] in COMMANDS:
        return _command(words[0], words[1:])
    if words in (["--help"], ["--version"]):
        print(USAGE if words == ["--help"] else f"{NAME} {__version__}")
        return 0
    try:
        options = parse_flags(words)
    except UsageError as error:
        return _fail(f"{NAME}: {error}", f"See {NAME} --help.")
    if options.help or options.version or options.libraries:
        _show_version(options)
        return 0
    if options.signal:
        return _signal(options)
    if options.test or options.dump:
        return _test(options)
    return _run(options)


def _open_closed_streams() -> None:
    """Open /dev/null for each standard stream that is closed.

    Otherwise a socket or a file would get its number and with it the messages, and `print` would write them to standard output.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - open as long as the process


def _fail(*lines: str) -> int:
    for line in lines:
        print(line, file=sys.stderr)
    return 1


def _show_version(options: Options) -> None:
    print(f"{NAME} version: {NAME}/{__version__}", file=sys.stderr)
    if options.libraries:
        print(*_nginx_lines(), sep="\n", file=sys.stderr)
        from importlib.metadata import PackageNotFoundError, version

        found = []
        for library in _LIBRARIES:
            try:
                found.append(f"{library}/{version(library)}")
            except PackageNotFoundError:
                continue
        print(f"Python {sys.version.split()[0]}, {', '.join(found)}", file=sys.stderr)
        print("compiled by mypyc" if build.compiled() else "not compiled", file=sys.stderr)
        _warn_of_the_build()
    if options.help:
        print(USAGE, file=sys.stderr)


def _nginx_lines() -> list[str]:
    """Return the lines of `nginx -V` that programs read: the version of nginx whose directives are read, and its modules."""
    import ssl

    modules = [f"--with-http_{name}_module" for name in build.NGINX_MODULES]
    modules += [f"--without-http_{name}_module" for name in build.NGINX_MODULES_ABSENT]
    return [
        f"nginx version: nginx/{build.NGINX_VERSION}",
        f"built with {ssl.OPENSSL_VERSION}",
        "TLS SNI support enabled",
        f"configure arguments: {' '.join(modules)}",
    ]


def _warn_of_the_build() -> None:
    """Warn if the installation could not compile the package."""
    warning = build.warning()
    if warning:
        print(f"{NAME}: [warn] {warning}", file=sys.stderr)


# --- the configuration ------------------------------------------------------------------------------------------------------


def read(options: Options, *, whole: bool = True, starts: bool = False) -> Config:
    """Return the configuration that the flags name, with the place of its error log.

    With `whole`, host names are looked up and certificates are checked. With `starts`, the pid file has a place and the files
    that a start writes are checked. Raises ConfigError with all faults.
    """
    from .. import nginx
    from ..tls import warnings_of

    def check(config: Config) -> list[Fault]:
        return _machine_faults(places.settled(config, options.error_log, pid=starts), starts)

    config = nginx.load(
        options.path, prefix=options.prefix, main=options.directives, check=check if whole else None, own_process=True
    )
    config = replace(config, warnings=(*config.warnings, *warnings_of(config)))
    return places.settled(config, options.error_log, pid=starts)


def _machine_faults(config: Config, starts: bool) -> list[Fault]:
    """Return the faults of a configuration on this machine: unknown hosts, certificates, files that cannot be written."""
    from .. import nginx, tls

    tls.forget()
    faults = [*nginx.unresolved(config), *tls.faults_of(config)]
    if starts:
        from ..server import preflight

        faults += preflight.faults_of(config)
    return faults


def _lines(error: ConfigError) -> list[str]:
    return [f"{NAME}: [emerg] {fault}" for fault in error.faults]


def _warn(config: Config) -> None:
    for warning in config.warnings:
        print(f"{NAME}: [warn] {warning}", file=sys.stderr)
    if os.geteuid() == 0 and not config.main.user:
        # nginx's account nobody might not be able to read Python, or the caches of earlier starts.
        print(f"{NAME}: [warn] {ROOT_WARNING}", file=sys.stderr)


def _as_it_runs(options: Options) -> Config | None:
    """Return the configuration with `daemon off` if a server runs with it that `-g "daemon off;"` may have started, else None.

    Beside such a server in a container with a read-only root, a start in the background would fail for want of `logs`.
    """
    try:
        foreground = replace(options, directives=f"{options.directives} daemon off;")
        return read(foreground, starts=True) if places.is_in_use(read(foreground, whole=False)) else None
    except ConfigError:  # `daemon` is set already, or there are faults that the caller reports
        return None


def _test(options: Options) -> int:
    """Run -t and -T: print all faults, or nginx's two lines."""
    path = options.path
    try:
        config = _as_it_runs(options) or read(options, starts=True)
        from ..server import ServerPlan

        ServerPlan(config)
    except ConfigError as error:
        return _fail(*_lines(error), f"{NAME}: configuration file {path} test failed")
    if not options.quiet:
        _warn(config)
        print(f"{NAME}: the configuration file {path} syntax is ok", file=sys.stderr)
        print(f"{NAME}: configuration file {path} test is successful", file=sys.stderr)
    if options.dump:
        for name, text in config.files:
            sys.stdout.buffer.write(f"# configuration file {name}:\n{text}\n".encode("utf-8", "surrogateescape"))
        sys.stdout.flush()
    return 0


def _run(options: Options) -> int:
    """Run the server until a signal ends it."""
    from ..server import run

    try:
        config = read(options, starts=True)
        _warn(config)
        _warn_of_the_build()
        # Imported before the workers are forked, which then share it.
        from ..wsgi import ProxyApp

        return run(config, lambda: read(options, starts=True), ProxyApp, daemon=config.main.daemon)
    except ConfigError as error:
        return _fail(*_lines(error))


def _signal(options: Options) -> int:
    """Run -s: signal the process of the pid file."""
    try:
        # As with nginx, a file that the server would refuse is not sent to it.
        path = places.pid_file(read(options, whole=options.signal == "reload"))
    except ConfigError as error:
        cure = (
            f"The pid file is named by the configuration. Correct it, or send the signal by `kill -{_signal_name(options)} PID`."
        )
        return _fail(*_lines(error), cure)
    try:
        with open(path, encoding="latin-1") as file:
            text = file.read(64).strip()
    except OSError as error:
        cure = f"No server runs with this configuration, or its start had other flags: -c {options.path} is read."
        return _fail(f'{NAME}: [error] open() "{path}" failed ({error.errno}: {error.strerror})', cure)
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 2**31:
        return _fail(f'{NAME}: [error] invalid PID number "{text}" in "{path}"')
    number = SIGNALS[options.signal]
    try:
        os.kill(int(text), number)
    except OSError as error:
        cure = "The server has ended without removing its pid file."
        if error.errno == errno.EPERM:
            cure = "Run the command as the user that started the server."
        return _fail(f"{NAME}: [alert] kill({text}, {int(number)}) failed ({error.errno}: {error.strerror})", cure)
    return 0


def _signal_name(options: Options) -> str:
    return signal.Signals(SIGNALS[options.signal]).name.removeprefix("SIG")


# --- sub-commands -----------------------------------------------------------------------------------------------------------


def _command(name: str, argv: list[str]) -> int:
    """Run a sub-command and return its exit status."""
    if name == "explain":
        return _explain(argv)
    if name == "cache":
        return _cache(argv)
    if name in ("status", "top"):
        code: int = import_module(".status", __package__).run(name, argv)
        return code
    status: int = import_module(f".{name}", __package__).main(argv)
    return status


def _cache(argv: list[str]) -> int:
    try:
        options, rest = take_configuration(argv)
        wants_help = not rest or rest[0] in ("-h", "--help")
        config = None if wants_help else read(options, whole=False)
    except UsageError as error:
        return _fail(f"{NAME}: {error}")
    except ConfigError as error:
        return _fail(*_lines(error))
    status: int = import_module(".cache", __package__).main(rest, config)
    return status


def _explain(argv: list[str]) -> int:
    try:
        status: int = import_module(".explain", __package__).main(argv, read)
    except UsageError as error:
        return _fail(f"{NAME}: {error}")
    except ConfigError as error:
        return _fail(*_lines(error))
    return status


if __name__ == "__main__":
    sys.exit(main())
