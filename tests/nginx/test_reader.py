"""The reader of nginx.conf: text to statements as in nginx, files, and every fault in nginx's words (compared with nginx)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.first_fault import first_of_nginx, first_of_ours
from tests.support.nginx_faults import FAULTS, OURS
from wsgi_proxy.config import Config
from wsgi_proxy.errors import ConfigError
from wsgi_proxy.nginx import reader as nginx

SEED = Path(__file__).parents[1].parent / "deploy" / "nginx.conf"


def faults_of(text: str, **options: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        nginx.loads(text, **options)
    return [fault.message for fault in caught.value.faults]


# --- the seed ---------------------------------------------------------------------------------------------------------------


def test_the_seeds_configuration() -> None:
    config = nginx.load(str(SEED))
    assert config.main.worker_processes == 4
    assert config.main.worker_connections == 1024
    echo = config.upstreams["echo"]
    assert echo.policy.name == "least_conn"
    assert [server.address for server in echo.servers] == [f"server{n}:3000" for n in range(1, 7)]
    assert {(server.weight, server.max_fails, server.fail_timeout) for server in echo.servers} == {(10, 3, 30.0)}
    (server,) = config.servers
    (location,) = server.locations
    assert (server.listens[0].port, location.pattern, location.handler) == (80, "/", "proxy_pass")
    assert location.proxy.pass_ is not None and location.proxy.pass_.upstream == "echo" and location.proxy.pass_.uri is None
    assert [name for name, _ in location.proxy.set_header or ()] == ["Upgrade", "Connection", "Host"]
    assert len(location.cache.bypass) == 1


def test_the_seeds_three_quirks_are_warnings() -> None:
    warnings = nginx.load(str(SEED)).warnings
    assert len(warnings) == 3
    for warning, (word, line) in zip(
        warnings, [('no "zone"', 6), ("Connection 'upgrade'", 23), ("proxy_cache_bypass", 25)], strict=True
    ):
        assert word in warning and warning.endswith(f" in {SEED}:{line}")


def test_names_are_looked_up_in_a_step_of_its_own() -> None:
    text = "events {} http { upstream u { server 127.0.0.1:1; server no.such.invalid:1; server later.invalid resolve; } }"
    config = nginx.loads(text)
    (fault,) = nginx.unresolved(config)
    assert fault.message == 'host not found in upstream "no.such.invalid:1"'
    assert fault.line == 1


def test_a_fault_has_the_line_it_is_on(tmp_path: Path) -> None:
    path = tmp_path / "nginx.conf"
    path.write_text("events {}\n\nhttp {\n  foo\n    bar;\n  server { listen x; }\n}\n")
    with pytest.raises(ConfigError) as caught:
        nginx.load(str(path))
    assert str(caught.value).splitlines() == [
        f'{path}:4: unknown directive "foo"',
        f'{path}:6: host not found in "x" of the "listen" directive',
    ]


# --- files ------------------------------------------------------------------------------------------------------------------


def test_include_is_beside_the_main_file_and_sorted(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    for name in ("b", "a"):
        (tmp_path / "conf.d" / f"{name}.conf").write_text(f"server {{ server_name {name}; include one/name; }}")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "name").write_text("server_name deep;")
    (tmp_path / "nginx.conf").write_text("events {} http { include conf.d/*.conf; include none/*.conf; }")
    config = nginx.load(str(tmp_path / "nginx.conf"))
    assert [server.names for server in config.servers] == [("a", "deep"), ("b", "deep")]
    assert config.servers[0].place.file == str(tmp_path / "conf.d" / "a.conf")
    # `-T` prints each file once, as nginx does.
    assert [os.path.relpath(name, tmp_path) for name, _ in config.files] == [
        "nginx.conf", "conf.d/a.conf", "one/name", "conf.d/b.conf"]  # fmt: skip


def test_a_missing_mime_types_is_that_of_the_package(tmp_path: Path) -> None:
    for where in ("mime.types", "/etc/no-such-directory/mime.types"):
        (tmp_path / "nginx.conf").write_text(f"events {{}} http {{ include {where}; server {{}} }}")
        types = nginx.load(str(tmp_path / "nginx.conf")).servers[0].settings.core.types
        assert types is not None and len(types) == 110
        assert (types["js"], types["html"], types["svgz"]) == ("application/javascript", "text/html", "image/svg+xml")
    (tmp_path / "mime.types").write_text("types { text/x-mine js; }")
    (tmp_path / "nginx.conf").write_text("events {} http { include mime.types; server {} }")
    assert nginx.load(str(tmp_path / "nginx.conf")).servers[0].settings.core.types == {"js": "text/x-mine"}
    (tmp_path / "nginx.conf").write_text("events {} http { include other.types; server {} }")
    with pytest.raises(ConfigError, match="No such file"):
        nginx.load(str(tmp_path / "nginx.conf"))


def test_include_in_a_circle_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text("events {}\ninclude a;")
    (tmp_path / "a").write_text("include nginx.conf;")
    with pytest.raises(ConfigError, match=rf'{tmp_path}/a:1: "{tmp_path}/nginx.conf" includes itself'):
        nginx.load(str(tmp_path / "nginx.conf"))


def test_what_is_no_configuration_gives_one_line(tmp_path: Path) -> None:
    def only_fault(name: str) -> str:
        with pytest.raises(ConfigError) as caught:
            nginx.load(str(tmp_path / name))
        (line,) = str(caught.value).splitlines()
        return line.replace(str(tmp_path), "")

    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(b"events {}\n\x7fELF\0\0\1" * 1000)
    (tmp_path / "block").write_text("events {")
    (tmp_path / "quote").write_text('events {} user "x;\n')
    (tmp_path / "long").write_text("a" * 10_000_000)
    (tmp_path / "deep").write_text("events {} http { " + "location / { " * 100)
    assert only_fault("nothing") == 'open() "/nothing" failed (2: No such file or directory)'
    assert only_fault(".") == 'pread() "" failed (21: Is a directory)'
    assert only_fault("empty") == '/empty: no "events" section in configuration'
    assert only_fault("binary") == "/binary:2: the file is no text: it has a zero byte"
    assert only_fault("block") == '/block:1: unexpected end of file, expecting "}"'
    assert only_fault("quote") == '/quote:2: unexpected end of file, expecting ";" or "}"'
    assert only_fault("long") == '/long:1: too long parameter "aaaaaaaaaa..." started'
    assert "/deep:1: too many nested blocks, at most 64 are read" in str(
        pytest.raises(ConfigError, nginx.load, str(tmp_path / "deep")).value
    )


def test_a_file_that_cannot_be_read() -> None:
    with pytest.raises(ConfigError, match=r'"/proc/self/mem" failed \(5: Input/output error\)'):
        nginx.load("/proc/self/mem")


def test_a_hundred_faults_are_enough() -> None:
    faults = faults_of("events {}\n" + "foo bar;\n" * 5000)
    assert len(faults) == 101 and faults[-1].startswith("too many faults")


def test_a_large_file_is_read() -> None:
    servers = "".join(f"server {{ server_name a{n}; location / {{ return 204; }} }}\n" for n in range(5000))
    assert len(nginx.loads(f"events {{}} http {{ {servers} }}").servers) == 5000


def test_directives_of_the_command_line_stand_before_the_file() -> None:
    config = nginx.loads("events {}", main="daemon off; pid /x/y.pid;")
    assert config.main.daemon is False and config.main.pid == "/x/y.pid"
    assert faults_of("events {} daemon on;", main="daemon off;") == ['"daemon" directive is duplicate']
    assert faults_of("events {}", main="daemon") == ['unexpected end of parameter, expecting ";" in command line']


def test_paths_are_under_the_prefix_and_certificates_beside_the_file() -> None:
    text = "events {} pid run/x.pid; http { server { listen 1 ssl; root web; ssl_certificate c; ssl_certificate_key k; } }"
    config: Config = nginx.loads(text, path="/etc/x/nginx.conf", prefix="/srv")
    server = config.servers[0]
    assert config.main.pid == "/srv/run/x.pid"
    assert server.settings.core.root is not None and server.settings.core.root.constant == "/srv/web"  # type: ignore[attr-defined]
    assert server.tls is not None and server.tls.certificates[0][0].constant == "/etc/x/c"  # type: ignore[attr-defined]


# --- faults, compared with nginx --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nginx_messages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Path, str]]]:
    folder = tmp_path_factory.mktemp("faults")
    cases = [(folder / f"{number}.conf", text) for number, text in enumerate(FAULTS)]
    with ThreadPoolExecutor(2) as pool:
        messages = list(pool.map(first_of_nginx, cases))
    yield {text: (path, message) for (path, text), message in zip(cases, messages, strict=True)}


@pytest.mark.parametrize("text", FAULTS)
def test_a_fault_has_nginxs_message(text: str, nginx_messages: dict[str, tuple[Path, str]]) -> None:
    path, message = nginx_messages[text]
    assert first_of_ours(path) == message


@pytest.mark.parametrize(("text", "message"), OURS)
def test_a_fault_that_nginx_has_not(text: str, message: str) -> None:
    assert faults_of(text) == [message]


def test_a_usual_file_is_read_by_both_without_a_word(tmp_path: Path) -> None:
    """A usual file: balancing, caching, limits, WebSocket, single-page applications, log-ins, redirects."""
    (tmp_path / "run").mkdir()
    path = tmp_path / "nginx.conf"
    path.write_bytes((Path(__file__).parents[1] / "usual.conf").read_bytes())
    assert first_of_nginx((path, path.read_text())) == "ok"
    config = nginx.load(str(path))
    assert config.warnings == ()
    plain, site = config.servers
    assert len(plain.listens) == 2 and len(site.locations) == 13 and len(site.named) == 2
