"""The command: nginx's flags and messages, signals to a running proxy, sub-commands."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from tests.support import ROOT, Recorder, Running, environment, fetch, free_port, run_proxy, running, wait_until
from wsgi_proxy import build
from wsgi_proxy.cli import command as cli
from wsgi_proxy.server import listen

GOOD = "events {} http { server { listen 127.0.0.1:1; return 204; } }\n"


class Told(NamedTuple):
    """The exit status and the output of a command."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Told]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command in this process, in a directory."""

    def call(*argv: str, folder: Path = ROOT) -> Told:
        monkeypatch.chdir(folder)
        return Told(cli.main(argv), *capfd.readouterr())

    return call


def run(*argv: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """The command as users run it."""
    command = [sys.executable, "-m", "wsgi_proxy", *argv]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment(), timeout=120, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nginx.conf").write_text(GOOD)
    return tmp_path


# --- flags ------------------------------------------------------------------------------------------------------------------


def test_the_version_costs_no_gevent() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "wsgi_proxy", "-v"],
        capture_output=True, text=True, env=environment(), timeout=120, check=True,
    )  # fmt: skip
    assert "wsgi-proxy version: wsgi-proxy/" in done.stderr
    for library in ("gevent", "gunicorn", "requests", "werkzeug", "crossplane"):
        assert not re.search(rf"\| +{library}\b", done.stderr)


def test_versions_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-V"]) == cli.main(["-h"]) == cli.main(["-?"]) == 0
    told = capsys.readouterr().err
    assert "gunicorn/" in told and "Usage: wsgi-proxy [-?hvVtTq]" in told


def test_the_versions_have_the_lines_that_programs_read_from_nginx(capsys: pytest.CaptureFixture[str]) -> None:
    """certbot and nginx's test suite read the available modules from them."""
    assert cli.main(["-V"]) == 0
    told = capsys.readouterr().err
    found = re.search(r"^nginx version: nginx/([0-9.]+)$", told, re.MULTILINE)
    assert found and found[1] == build.NGINX_VERSION
    assert re.search(r"^built with OpenSSL [0-9.]+", told, re.MULTILINE)
    assert "\nTLS SNI support enabled\n" in told
    arguments = re.search(r"^configure arguments: (.*)$", told, re.MULTILINE)
    assert arguments and {"--with-http_ssl_module", "--with-http_v2_module"} < set(arguments[1].split())
    assert "--without-http_grpc_module" in arguments[1].split()
    assert not re.search(r"mail|stream|perl|image_filter|xslt|geoip", arguments[1])


def test_the_words_that_people_try(capsys: pytest.CaptureFixture[str]) -> None:
    from wsgi_proxy import __version__

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr() == (f"wsgi-proxy {__version__}\n", "")
    for words in (["--help"], ["help"]):
        assert cli.main(words) == 0
        told = capsys.readouterr()
        assert told.out.startswith("Usage: wsgi-proxy [-?hvVtTq]") and told.err == ""
    with pytest.raises(SystemExit) as end:
        cli.main(["help", "echo"])
    assert end.value.code == 0 and "usage: wsgi-proxy echo" in capsys.readouterr().out
    assert cli.main(["help", "explain"]) == 0
    assert "Usage: wsgi-proxy explain" in capsys.readouterr().out


def test_a_port_that_cannot_be_bound_names_the_cure(folder: Path, command: Command) -> None:
    with Recorder() as other:
        (folder / "nginx.conf").write_text(f"daemon off; events {{}} http {{ server {{ listen {other.address}; }} }}")
        done = run("-c", "nginx.conf", folder=folder)
        assert done.returncode == 1
        first, second = done.stderr.splitlines()[-2:]
        assert first == f"wsgi-proxy: [emerg] bind() to {other.address} failed (98: Address already in use)"
        assert second.startswith("Another process listens there: stop it (a wsgi-proxy by `-s quit`)")
    assert listen.cure("bind() to 0.0.0.0:80 failed (13: Permission denied)").startswith("A port below 1024 needs root or CAP_")
    assert "of this machine" in listen.cure("bind() to 192.0.2.1:80 failed (99: Cannot assign requested address)")


# --- -t and -T --------------------------------------------------------------------------------------------------------------


def test_a_good_file_gives_nginxs_two_lines(folder: Path, command: Command) -> None:
    done = command("-t", "-c", "nginx.conf", folder=folder)
    path = folder / "nginx.conf"
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines() == [
        *([f"wsgi-proxy: [warn] {cli.ROOT_WARNING}"] if os.geteuid() == 0 else []),
        f"wsgi-proxy: the configuration file {path} syntax is ok",
        f"wsgi-proxy: configuration file {path} test is successful",
    ]
    assert command("-tq", folder=folder).stderr == ""


def test_every_fault_is_told_with_its_place(folder: Path, command: Command) -> None:
    path = folder / "nginx.conf"
    path.write_text(
        "events {}\nhttp {\n foo;\n server {\n listen 80x;\n location / {\n proxy_pass http://no.such.invalid; } } }\n"
    )
    done = command("-t", "-c", str(path))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f'wsgi-proxy: [emerg] {path}:3: unknown directive "foo"',
        f'wsgi-proxy: [emerg] {path}:5: host not found in "80x" of the "listen" directive',
        f'wsgi-proxy: [emerg] {path}:7: host not found in upstream "no.such.invalid"',
        f"wsgi-proxy: configuration file {path} test failed",
    ]
    path.write_text("events {}\nhttp { server {\n location / {\n proxy_pass http://no.such.invalid; } } }\n")
    assert f'{path}:4: host not found in upstream "no.such.invalid"' in command("-t", "-c", str(path)).stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have workers of root")
def test_workers_of_root_are_warned_of(folder: Path, command: Command) -> None:
    assert cli.ROOT_WARNING in command("-t", folder=folder).stderr
    (folder / "nginx.conf").write_text("user nobody nogroup; " + GOOD)
    assert "[warn]" not in command("-t", folder=folder).stderr


def test_warnings_are_told(folder: Path, command: Command) -> None:
    (folder / "nginx.conf").write_text("events {} http { server { listen 127.0.0.1:1; server_name a/b; } }")
    done = command("-t", folder=folder)
    assert done.returncode == 0
    assert done.stderr.startswith('wsgi-proxy: [warn] server name "a/b" has suspicious symbols in ')


def test_the_dump_shows_every_file(folder: Path, command: Command) -> None:
    (folder / "more.conf").write_text("# é\n")
    (folder / "nginx.conf").write_text("include more.conf;\n" + GOOD)
    done = command("-T", folder=folder)
    more, whole = folder / "more.conf", folder / "nginx.conf"
    assert done.stdout == f"# configuration file {whole}:\ninclude more.conf;\n{GOOD}\n# configuration file {more}:\n# é\n\n"
    assert "test is successful" in done.stderr


@pytest.mark.parametrize("kind", ["nothing", "folder", "empty", "binary"])
def test_what_is_no_configuration_is_told_without_a_traceback(kind: str, tmp_path: Path, command: Command) -> None:
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind != "nothing":
        path.write_bytes(b"" if kind == "empty" else bytes(range(256)))
    for flags in (["-t"], ["-s", "stop"], []):
        done = command(*flags, "-c", str(path))
        assert done.returncode == 1
        first, *others = done.stderr.splitlines()
        assert first.startswith("wsgi-proxy: [emerg] ") and str(path) in first
        failed = [f"wsgi-proxy: configuration file {path} test failed"]
        cure = ["The pid file is named by the configuration. Correct it, or send the signal by `kill -TERM PID`."]
        assert others == {"-t": failed, "-s": cure}.get("".join(flags[:1]), [])


# --- signals ----------------------------------------------------------------------------------------------------------------


def test_signals_need_a_process(folder: Path, command: Command) -> None:
    pid = folder / "logs" / "nginx.pid"
    assert (
        command("-s", "stop", folder=folder).stderr
        == f'wsgi-proxy: [error] open() "{pid}" failed (2: No such file or directory)\n'
        f"No server runs with this configuration, or its start had other flags: -c {folder}/nginx.conf is read.\n"
    )
    pid.parent.mkdir()
    for text in ("abc", "", "0", "-5", "99999999999"):
        pid.write_text(text)
        assert command("-s", "stop", folder=folder).stderr == f'wsgi-proxy: [error] invalid PID number "{text}" in "{pid}"\n'
    pid.write_text(str(2**31 - 1))
    done = command("-s", "reload", folder=folder)
    assert (done.returncode, *done.stderr.splitlines()) == (
        1,
        "wsgi-proxy: [alert] kill(2147483647, 1) failed (3: No such process)",
        "The server has ended without removing its pid file.",
    )


@pytest.mark.parametrize(("word", "number"), [("stop", 15), ("quit", 3), ("reload", 1), ("reopen", 10)])
def test_each_word_is_a_signal(word: str, number: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    (folder / "logs").mkdir()
    (folder / "logs" / "nginx.pid").write_text("4711\n")
    assert cli.main(["-s", word, "-c", str(folder / "nginx.conf")]) == 0
    assert sent == [(4711, number)]
    assert signal.Signals(number) == cli.SIGNALS[word]


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[tuple[Running, int, Path]]:
    port = free_port()
    text = f"events {{}} http {{ server {{ listen 127.0.0.1:{port}; return 200 one; }} }}"
    with run_proxy(text, tmp_path) as running:
        yield running, port, running.folder


def test_a_running_proxy_reloads_and_stops(proxy: tuple[Running, int, Path]) -> None:
    running, port, where = proxy
    flags = ("-p", f"{where}/", "-c", "nginx.conf")
    assert fetch(port).text == "one"
    assert (where / "logs" / "nginx.pid").read_text().strip() == str(running.pid)
    (where / "nginx.conf").write_text(f"events {{}} http {{ server {{ listen 127.0.0.1:{port}; return 200 two; }} }}")
    assert run(*flags, "-s", "reload").returncode == 0
    wait_until(lambda: fetch(port).text == "two", "the new configuration to answer")
    (where / "nginx.conf").write_text("events {} http { server { location / { proxy_pass http://no.such.invalid; } } }")
    refused = run(*flags, "-s", "reload")
    assert refused.returncode == 1 and 'host not found in upstream "no.such.invalid"' in refused.stderr
    assert fetch(port).text == "two" and "no.such.invalid" not in running.log(), "the server was not told"
    (where / "nginx.conf").write_text("events {} http { foo; }")
    assert run(*flags, "-s", "stop").returncode == 1, "a broken configuration does not say where the pid file is"
    (where / "nginx.conf").write_text("events {}")
    assert run(*flags, "-s", "stop").returncode == 0
    wait_until(lambda: running.process.poll() is not None, "the proxy to end")
    assert running.process.returncode == 0
    assert not (where / "logs" / "nginx.pid").exists()


@pytest.mark.parametrize("closed", ["2>&-", "2>&- 1>&- 0<&-"])
def test_a_start_with_closed_standard_streams(closed: str, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; events {{}} http {{ http2_push /x; server {{ listen 127.0.0.1:{port}; return 204; }} }}"
    )
    (tmp_path / "logs").mkdir()
    line = f"exec {sys.executable} -m wsgi_proxy -p {tmp_path}/ -c {tmp_path}/nginx.conf"
    told = subprocess.run(["sh", "-c", f"{line} -t {closed}"], env=environment(), capture_output=True, timeout=60)
    assert (told.returncode, told.stdout, told.stderr) == (0, b"", b"")
    with running(Running(["sh", "-c", f"{line} {closed}"], tmp_path), [port]) as process:
        assert fetch(port).status == 204
        numbers = (2,) if closed == "2>&-" else (0, 1, 2)
        assert {os.readlink(f"/proc/{process.pid}/fd/{number}") for number in numbers} == {"/dev/null"}


def test_a_server_in_the_background_has_logs_without_being_told(tmp_path: Path) -> None:
    port, dead = free_port(), free_port()
    text = f"events {{}} http {{ server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{dead}; }} }} }}"
    (tmp_path / "nginx.conf").write_text(text)
    command = [sys.executable, "-m", "wsgi_proxy", "-c", "nginx.conf"]
    # The server would keep a pipe open.
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "timeout": 60}
    assert subprocess.run(command, cwd=tmp_path, env=environment(), **quiet).returncode == 0
    logs = tmp_path / "logs"
    try:
        wait_until((logs / "nginx.pid").exists, "the pid file")
        wait_until(lambda: fetch(port).status == 502, "the server")
        assert "Connection refused" in (logs / "error.log").read_text()
        wait_until(lambda: '"GET / HTTP/1.1" 502' in (logs / "access.log").read_text(), "a line of the access log")
    finally:
        assert subprocess.run([*command, "-s", "stop"], cwd=tmp_path, env=environment(), **quiet).returncode == 0
    wait_until(lambda: not (logs / "nginx.pid").exists(), "the end of the server")


def test_a_fault_at_the_start_is_told_once(folder: Path, command: Command) -> None:
    (folder / "nginx.conf").write_text("daemon off; events {} http { server { listen 127.0.0.1:1; proxy_foo; } }")
    done = command("-c", "nginx.conf", folder=folder)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


# --- sub-commands -----------------------------------------------------------------------------------------------------------


def test_explain_tells_why(tmp_path: Path) -> None:
    with Recorder() as upstream:
        text = f"events {{}} http {{ server {{ location /a {{ proxy_pass http://127.0.0.1:{upstream.port}; }} }} }}"
        (tmp_path / "nginx.conf").write_text(text)
        done = run("explain", "-c", "nginx.conf", "POST", "http://h/a/b", "-H", "X-A: b", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"127.0.0.1:{upstream.port}" in done.stdout
        (request,) = upstream.requests
        assert request.raw.startswith(b"POST /a/b HTTP/1.1\r\n") and b"X-A: b\r\n" in request.raw


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["explain", "/", "-H", "x"], 'option "-H" requires "Name: value"'),
        (["explain", "GET", "/", "more"], 'invalid option: "GET / more"'),
        (["explain", "-c"], 'option "-c" requires file name'),
        (["cache", "ls", "-c"], 'option "-c" requires file name'),
    ],
)
def test_sub_commands_with_a_wrong_command_line(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 1
    assert capsys.readouterr().err == f"wsgi-proxy: {message}\n"


def test_the_cache_command_reads_the_configuration(folder: Path, command: Command) -> None:
    (folder / "nginx.conf").write_text("events {} http { proxy_cache_path c keys_zone=z:1m; server { listen 127.0.0.1:1; } }")
    done = command("cache", "stats", "-c", "nginx.conf", folder=folder)
    assert done.returncode == 0 and "z" in done.stdout + done.stderr
    assert command("cache", "stats", "-c", "nothing", folder=folder).returncode == 1


def test_the_echo_command_is_the_modules(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["echo", "--help"])
    assert end.value.code == 0
    assert "--bind" in capsys.readouterr().out


def test_a_certificate_in_a_directory_with_an_umlaut(tmp_path: Path, command: Command) -> None:
    (tmp_path / "schlüssel").mkdir()
    issued = trustme.CA().issue_cert("a", not_before=datetime(2001, 1, 1), not_after=datetime(2001, 2, 3))  # noqa: DTZ001
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "schlüssel/a.pem")
    pair = "ssl_certificate schlüssel/a.pem; ssl_certificate_key schlüssel/a.pem;"
    (tmp_path / "nginx.conf").write_text(f"events {{}} http {{ server {{ listen 127.0.0.1:1 ssl; {pair} }} }}", "utf-8")
    done = command("-t", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f'[warn] certificate "{tmp_path}/schlüssel/a.pem" expired on ' in done.stderr


def test_certificates_are_looked_into(tmp_path: Path, command: Command) -> None:
    authority = trustme.CA()
    old = authority.issue_cert("a", not_before=datetime(2001, 1, 1), not_after=datetime(2001, 2, 3))  # noqa: DTZ001
    old.private_key_and_cert_chain_pem.write_to_path(tmp_path / "old.pem")
    authority.issue_cert("a").private_key_pem.write_to_path(tmp_path / "other.key")
    (tmp_path / "broken.pem").write_text("no certificate\n")

    def test(certificate: str, key: str) -> Told:
        pair = f"ssl_certificate {certificate};\nssl_certificate_key {key};"
        text = f"events {{}}\nhttp {{\nserver {{ listen 127.0.0.1:1 ssl;\n{pair} }} }}"
        (tmp_path / "nginx.conf").write_text(text)
        return command("-t", folder=tmp_path)

    good = test("old.pem", "old.pem")
    assert good.returncode == 0
    assert [line for line in good.stderr.splitlines() if "[warn] cert" in line] == [
        f'wsgi-proxy: [warn] certificate "{tmp_path}/old.pem" expired on 2001-02-03 00:00:00 UTC and clients reject it: '
        f"renew it in {tmp_path}/nginx.conf:3"
    ]
    for certificate, key, named, line in (
        ("old.pem", "other.key", "other.key", 5),
        ("broken.pem", "old.pem", "broken.pem", 4),
        ("old.pem", "nothing.key", "nothing.key", 5),
        ("no.pem", "old.pem", "no.pem", 4),
    ):
        bad = test(certificate, key)
        first, last = bad.stderr.splitlines()
        assert bad.returncode == 1
        assert first.startswith(f"wsgi-proxy: [emerg] {tmp_path}/nginx.conf:{line}: ") and named in first
        assert last.endswith("test failed")


def test_faults_of_every_kind_are_told_in_one_run(tmp_path: Path, command: Command) -> None:
    path = tmp_path / "nginx.conf"
    path.write_text(
        f"""events {{}}
error_log {tmp_path}/missing/error.log;
http {{
    unknown_one;
    ssl_dhparam dh.pem;
    server {{
        listen 127.0.0.1:1 ssl;
        ssl_certificate_key key.pem;
        ssl_certificate
            cert.pem;
        location / {{
            proxy_ssl_trusted_certificate ca.pem;
            proxy_ssl_certificate client.pem;
            proxy_ssl_certificate_key client.key;
            proxy_pass https://no.such.invalid;
        }}
    }}
    include nothing.conf;
}}
"""
    )
    done = command("-t", "-c", str(path))
    missing = "failed (2: No such file or directory)"
    assert [line.removeprefix("wsgi-proxy: [emerg] ") for line in done.stderr.splitlines()] == [
        f'open() "{tmp_path}/missing/error.log" {missing}',
        f'{path}:4: unknown directive "unknown_one"',
        f'{path}:5: open() "{tmp_path}/dh.pem" {missing}',
        f'{path}:8: open() "{tmp_path}/key.pem" {missing}',
        f'{path}:9: open() "{tmp_path}/cert.pem" {missing}',
        f'{path}:12: open() "{tmp_path}/ca.pem" {missing}',
        f'{path}:13: open() "{tmp_path}/client.pem" {missing}',
        f'{path}:14: open() "{tmp_path}/client.key" {missing}',
        f'{path}:15: host not found in upstream "no.such.invalid"',
        f'{path}:18: open() "{tmp_path}/nothing.conf" {missing}',
        f"wsgi-proxy: configuration file {path} test failed",
    ]


def test_a_fault_inside_a_certificate_has_the_line_of_its_directive(tmp_path: Path, command: Command) -> None:
    path = tmp_path / "nginx.conf"
    (tmp_path / "cert.pem").write_text("nonsense")
    server = "server {\n listen 127.0.0.1:1 ssl;\n ssl_certificate_key cert.pem;\n ssl_certificate cert.pem;\n}"
    path.write_text(f"events {{}}\nhttp {{\n{server}\n}}\n")
    (line, _) = command("-t", "-c", str(path)).stderr.splitlines()
    assert line.startswith(f'wsgi-proxy: [emerg] {path}:6: cannot load certificate "{tmp_path}/cert.pem"')
    (tmp_path / "cert.pem").unlink()
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "cert.pem"))
    path.write_text(f"events {{}}\nhttp {{\nssl_ciphers\nNOTHING;\n{server}\n}}\n")
    (line, _) = command("-t", "-c", str(path)).stderr.splitlines()
    assert line.startswith(f'wsgi-proxy: [emerg] {path}:3: "ssl_ciphers NOTHING" failed')


def test_a_cache_in_redis_without_its_package_names_the_cure(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsgi_proxy.nginx.directives import row

    monkeypatch.setattr(row, "find_spec", lambda name: None)
    (tmp_path / "nginx.conf").write_text(
        "events {} http {\nproxy_cache_path redis://127.0.0.1/0 keys_zone=a:1m;\nproxy_cache_path cache keys_zone=b:1m; }"
    )
    done = command("-t", folder=tmp_path)
    assert done.returncode == 1
    needs = '"proxy_cache_path redis://" needs the package redis: pip install "wsgi-proxy-nginx[redis]"'
    assert done.stderr.splitlines()[0] == f"wsgi-proxy: [emerg] {tmp_path}/nginx.conf:2: {needs}"
