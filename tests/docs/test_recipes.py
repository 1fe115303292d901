"""Every recipe of docs/recipes.md, run: one proxy serves them all, each at its ports.

A recipe is what stands in an `nginx` block, its name the heading above. The test of a recipe is the function of that name; a
recipe without one, or a test without its recipe, fails.
"""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import pytest

from tests.support import (
    ROOT,
    Client,
    Recorded,
    Recorder,
    Response,
    Running,
    Wire,
    chunked,
    fetch,
    free_port,
    reply,
    request_bytes,
    run_proxy,
    send_raw,
)
from tests.support.tls import Files
from wsgi_proxy.access.passwords import apr1

DOCUMENT = (ROOT / "docs" / "recipes.md").read_text()
RECIPES: dict[str, str] = {
    heading.strip(): "\n".join(re.findall(r"```nginx\n(.*?)```", text, re.DOTALL))
    for heading, text in re.findall(r"^### (.+?)\n(.*?)(?=^##|\Z)", DOCUMENT, re.DOTALL | re.MULTILINE)
}
TESTS: dict[str, Any] = {}


def name_of(heading: str) -> str:
    return re.sub(r"\W+", "_", heading.lower()).strip("_")


def recipe(function: Any) -> Any:
    """The test of the recipe whose heading has the function's name."""
    TESTS[function.__name__] = function
    return function


@dataclass
class RecipeProxy:
    """The running proxy, its application, and the ports by recipe and port number in the recipe."""

    proxy: Running
    application: Recorder
    secure: Recorder
    files: Files
    ports: dict[tuple[str, int], int] = field(default_factory=dict)
    name: str = ""

    def port(self, number: int = 80) -> int:
        return self.ports[self.name, number]

    def get(self, target: str = "/", method: str = "GET", *, number: int = 80, **options: Any) -> Response:
        options["headers"] = list(options.pop("headers", {}).items())
        return fetch(self.port(number), target, method, **options)

    def statuses(self, count: int, target: str = "/", **options: Any) -> list[int]:
        return [self.get(target, **options).status for _ in range(count)]

    def tls(self, host: str, target: str = "/", pair: tuple[str, str] | None = None) -> Response:
        with Client(self.port(443), tls=self.files.client(pair), server_hostname=host) as client:
            return client.exchange(request_bytes(target, host=host, close=True))

    @property
    def last(self) -> Recorded:
        return self.application.requests[-1]


def application(request: Recorded, wire: Wire) -> bytes | None:
    """The application behind all recipes: its answer depends on the path."""
    path = request.target.partition("?")[0]
    if path == "/check":
        user = (request.get_all("X-Token") or [""])[0]
        return reply(b"", status=204, headers=[("X-User", user)]) if user else reply(b"", status=401)
    if path == "/slow":
        time.sleep(0.6)
    if path == "/file":
        return reply(b"", headers=[("X-Accel-Redirect", "/protected/report.txt")])
    if path == "/moved":
        return reply(b"", status=302, headers=[("Location", f"http://{request.get_all('Host')[0]}/there")])
    if path == "/broken":
        return reply(b"Traceback", status=500, headers=[("X-Powered-By", "Secret/1")])
    if path == "/kept":
        return reply(b"kept", headers=[("Cache-Control", "max-age=60")])
    return reply(request.target.encode(), headers=[("X-Powered-By", "Secret/1")])


@pytest.fixture(scope="module")
def recipe_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecipeProxy]:
    folder = tmp_path_factory.mktemp("recipes")
    etc, srv = folder / "etc", folder / "srv"
    etc.mkdir()
    srv.mkdir()
    (srv / "report.txt").write_text("the report")
    (srv / "alphabet").write_text("abcdefghijklmnopqrstuvwxyz")
    files = Files(etc)
    for name in ("www.example.org", "a.example.net", "backend.example.org", "client", "revoked"):
        files.pair(name)
    files.crl(str(etc / "revoked.crt"))
    (etc / "htpasswd").write_text(f"alice:{apr1(b'secret', b'saltsalt').decode()}\n")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(etc / "backend.example.org.crt", etc / "backend.example.org.key")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(files.ca_path)
    ports: dict[tuple[str, int], int] = {}
    with Recorder(application) as plain, Recorder(application, tls=context) as secure:
        text = "error_log stderr info; events { worker_connections 512; } http { access_log off;\n"
        for heading, source in RECIPES.items():
            name = name_of(heading)

            def listen(match: re.Match[str], name: str = name) -> str:
                port = ports.setdefault((name, int(match[1])), free_port())
                return f"listen 127.0.0.1:{port}{match[2]};"

            # First these: a free port may begin with their digits.
            source = source.replace("127.0.0.1:3000", plain.address).replace("127.0.0.1:3443", secure.address)
            source = re.sub(r"listen (\d+)([^;]*);", listen, source)
            text += source.replace("/etc/wsgi-proxy/", f"{etc}/").replace("/srv/files", str(srv)) + "\n"
        with run_proxy(text + "}", folder) as proxy:
            yield RecipeProxy(proxy, plain, secure, files, ports)


@pytest.mark.parametrize("heading", RECIPES)
def test_recipe(recipe_proxy: RecipeProxy, heading: str) -> None:
    recipe_proxy.name = name_of(heading)
    TESTS[recipe_proxy.name](recipe_proxy)


def test_no_recipe_is_forgotten() -> None:
    assert sorted(TESTS) == sorted(name_of(heading) for heading in RECIPES)
    links = re.findall(r"\]\(#([\w-]+)\)", DOCUMENT)
    headings = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in RECIPES]
    assert sorted(links) == sorted(headings), "each recipe is in the list at the top"


# --- protect ----------------------------------------------------------------------------------------------------------------


@recipe
def rate_limit_requests(k: RecipeProxy) -> None:
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: k.get().status, range(40)))
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 21
    assert "limiting requests, excess: 20." in k.proxy.log()


@recipe
def rate_limit_logins_except_for_trusted_networks(k: RecipeProxy) -> None:
    assert k.statuses(6, "/login", method="POST") == [200, 200, 200, 503, 503, 503]
    assert k.statuses(6, "/login") == [200] * 6


@recipe
def limit_connections_per_client(k: RecipeProxy) -> None:
    with ThreadPoolExecutor(6) as pool:
        statuses = list(pool.map(lambda _: k.get("/slow").status, range(6)))
    assert sorted(statuses) == [200] * 4 + [503] * 2
    assert k.get().status == 200


@recipe
def dry_run_mode_for_rate_limits(k: RecipeProxy) -> None:
    responses = [k.get() for _ in range(3)]
    assert [response.status for response in responses] == [200] * 3
    assert [response.get("X-Limit") for response in responses] == ["PASSED", "REJECTED_DRY_RUN", "REJECTED_DRY_RUN"]
    assert "limiting requests, dry run, excess: " in k.proxy.log()


@recipe
def limit_the_upload_size(k: RecipeProxy) -> None:
    assert k.get(method="POST", body=b"x" * 1024).status == 200
    before = len(k.application.requests)
    response = k.get(method="POST", body=b"x" * 1025)
    assert (response.status, response.text) == (413, '{"error": "at most 1 KiB"}')
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    long = b"190\r\n" + b"x" * 0x190 + b"\r\n"
    assert send_raw(k.port(), head + long * 3 + b"0\r\n\r\n").startswith(b"HTTP/1.1 413 ")
    assert len(k.application.requests) == before, "neither came to the application"
    assert k.get("/images/x", method="POST", body=b"x" * 8192).status == 200
    assert k.get("/images/x", method="POST", body=b"x" * 8193).status == 413
    assert send_raw(k.port(), head + long * 2 + b"0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    assert chunked(b"") == b"0\r\n\r\n" or k.last.body == b"x" * 0x320


@recipe
def limit_the_header_size(k: RecipeProxy) -> None:
    assert k.get("/" + "x" * 1500).status == 200
    assert k.get("/" + "x" * 2100).status == 414
    assert k.get(headers={"X-Long": "x" * 1500}).status == 200
    assert k.get(headers={"X-Long": "x" * 2100}).status == 400


@recipe
def limit_range_requests(k: RecipeProxy) -> None:
    assert k.get("/alphabet", headers={"Range": "bytes=0-1,3-4,6-7"}).status == 206
    response = k.get("/alphabet", headers={"Range": "bytes=0-1,3-4,6-7,9-10"})
    assert (response.status, len(response.body)) == (200, 26)


# --- let in -----------------------------------------------------------------------------------------------------------------


def basic(word: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(word.encode()).decode()}


@recipe
def allow_by_ip_address_or_password(k: RecipeProxy) -> None:
    response = k.get()
    assert (response.status, response.get("WWW-Authenticate")) == (401, 'Basic realm="staff"')
    assert k.get(headers=basic("alice:wrong")).status == 401
    assert k.get(headers=basic("alice:secret")).status == 200


@recipe
def authenticate_with_another_service(k: RecipeProxy) -> None:
    assert k.get("/page").status == 401
    assert k.get("/page", method="POST", body=b"hello", headers={"X-Token": "alice", "X-User": "root"}).status == 200
    asked, served = k.application.requests[-2:]
    assert (asked.method, asked.target, asked.body) == ("GET", "/check", b"")
    assert asked.get_all("X-Original-URI") == ["/page"]
    assert (served.get_all("X-User"), served.body) == (["alice"], b"hello")
    assert k.get("/auth").status == 404


@recipe
def restrict_methods_by_ip_address(k: RecipeProxy) -> None:
    assert [k.get(method=method).status for method in ("GET", "HEAD", "POST", "DELETE")] == [200, 200, 403, 403]


@recipe
def real_client_ip_behind_a_load_balancer(k: RecipeProxy) -> None:
    k.get(headers={"X-Forwarded-For": "6.6.6.6, 198.51.100.7, 10.1.1.1"})
    assert k.last.get_all("X-Real-IP") == ["198.51.100.7"]


@recipe
def real_client_ip_with_the_proxy_protocol(k: RecipeProxy) -> None:
    request = request_bytes(close=True)
    assert send_raw(k.port(), b"PROXY TCP4 198.51.100.7 10.0.0.1 4711 80\r\n" + request).startswith(b"HTTP/1.1 200 ")
    assert k.last.get_all("X-Real-IP") == ["198.51.100.7"]
    assert k.last.get_all("X-Balancer") == ["127.0.0.1"]


@recipe
def allow_networks_from_a_list(k: RecipeProxy) -> None:
    assert k.get().status == 200
    assert k.last.get_all("X-Network") == ["here"]


@recipe
def block_user_agents(k: RecipeProxy) -> None:
    assert k.get(headers={"User-Agent": "Mozilla/5.0"}).status == 200
    for agent in ("User-Agent: SQLMap/1.0\r\n", ""):
        request = f"GET / HTTP/1.1\r\nHost: a\r\n{agent}\r\n".encode()
        assert send_raw(k.port(), request) == b""


@recipe
def allow_access_at_certain_hours(k: RecipeProxy) -> None:
    def expected() -> tuple[str, str]:
        now = time.localtime()
        return str(int(now.tm_wday < 5 and 8 <= now.tm_hour < 18)), str(int(now.tm_hour < 6))

    for _ in range(3):
        before = expected()
        response = k.get()
        status = k.get("/office/").status
        if before == expected():
            break
    assert (response.get("X-Open"), response.get("X-Night")) == before
    assert status == (200 if before[0] == "1" else 403)


@recipe
def prevent_image_hotlinking(k: RecipeProxy) -> None:
    def status(referer: str | None) -> int:
        return k.get("/images/x.png", headers={} if referer is None else {"Referer": referer}).status

    good = [
        None,
        "",
        "http://www.example.org/",
        "https://a.example.org/x",
        "http://example.com/gallery/1",
        "http://a.friend.net/",
    ]
    bad = ["http://example.com/other", "https://evil.test/", "http://www.example.org.evil.test/"]
    assert [status(referer) for referer in good] == [200] * 6
    assert [status(referer) for referer in bad] == [403] * 3


@recipe
def signed_links_that_expire(k: RecipeProxy) -> None:
    def link(path: str, expires: int) -> str:
        digest = hashlib.md5(f"{expires}{path} secret".encode()).digest()
        return f"{path}?md5={base64.urlsafe_b64encode(digest).decode().rstrip('=')}&expires={expires}"

    soon = int(time.time()) + 60
    assert k.get(link("/downloads/a", soon)).status == 200
    assert k.get(link("/downloads/a", soon - 120)).status == 410
    assert k.get(link("/downloads/a", soon).replace("/a?", "/b?")).status == 403
    assert k.get("/downloads/a").status == 403


@recipe
def protected_downloads_with_x_accel_redirect(k: RecipeProxy) -> None:
    assert k.get("/file").text == "the report"
    assert k.get("/protected/report.txt").status == 404


# --- hide -------------------------------------------------------------------------------------------------------------------


@recipe
def hide_upstream_headers_and_error_pages(k: RecipeProxy) -> None:
    response = k.get("/x", host="www.example.org")
    assert response.get("X-Powered-By") is None and "/" not in (response.get("Server") or "")
    # `absolute_redirect` makes an absolute URL of a rewritten path, as in nginx.
    assert k.get("/moved", host="www.example.org").get("Location") == f"http://www.example.org:{k.port(80)}/there"
    response = k.get("/broken", host="www.example.org")
    assert (response.status, response.text) == (500, "<p>Sorry.</p>")
    for path in ("/x", "/moved", "/broken", "/sorry.html"):
        assert k.application.address.encode() not in k.get(path, host="www.example.org").raw


# --- TLS --------------------------------------------------------------------------------------------------------------------


@recipe
def redirect_http_to_https(k: RecipeProxy) -> None:
    response = k.get("/a?b", host="www.example.org")
    assert (response.status, response.get("Location")) == (301, "https://www.example.org/a?b")
    response = k.tls("www.example.org")
    assert (response.status, response.get("Strict-Transport-Security")) == (200, "max-age=63072000")
    assert k.last.get_all("X-Forwarded-Proto") == ["https"]
    response = k.get("/a", number=443, host="www.example.org")
    assert response.get("Location") == f"https://www.example.org:{k.port(443)}/a"


@recipe
def several_https_sites_on_one_address(k: RecipeProxy) -> None:
    assert k.tls("www.example.org").text == "www"
    assert k.tls("a.example.net").text == "a.example.net"
    for name in ("b.example.net", "other.test"):
        with pytest.raises(ssl.SSLError):
            k.tls(name)


@recipe
def require_client_certificates(k: RecipeProxy) -> None:
    folder = k.files.folder
    client, revoked = ((str(folder / f"{name}.crt"), str(folder / f"{name}.key")) for name in ("client", "revoked"))
    assert "No required SSL certificate was sent" in k.tls("www.example.org").text
    assert "The SSL certificate error" in k.tls("www.example.org", pair=revoked).text
    assert k.tls("www.example.org", pair=client).status == 200
    assert k.last.get_all("X-Client")[0].startswith("OU=")


@recipe
def pass_client_certificates_to_the_application(k: RecipeProxy) -> None:
    folder = k.files.folder
    assert k.tls("www.example.org").status == 200
    assert k.last.get_all("X-Client-Verify") == ["NONE"]
    assert k.tls("www.example.org", pair=(str(folder / "client.crt"), str(folder / "client.key"))).status == 200
    assert k.last.get_all("X-Client-Verify")[0].startswith("FAILED:")
    shown = unquote(k.last.get_all("X-Client-Cert")[0])
    assert ssl.PEM_cert_to_DER_cert(shown) == ssl.PEM_cert_to_DER_cert((folder / "client.crt").read_text())


@recipe
def https_to_the_upstream(k: RecipeProxy) -> None:
    assert k.get("/secret").text == "/secret"
    assert k.secure.requests[-1].target == "/secret"


# --- forward proxy ----------------------------------------------------------------------------------------------------------


def curl(k: RecipeProxy, url: str, *words: str) -> int:
    """The status that curl gets through the proxy: the site's, or the proxy's own for a tunnel."""
    command = ["curl", "-s", "-o", "/dev/null", "-m", "30", "-x", f"http://127.0.0.1:{k.port(3128)}"]
    command += ["-w", "%{http_connect} %{http_code}", *words, url]
    done = subprocess.run(command, capture_output=True, timeout=120, text=True, env={"PATH": "/usr/bin:/bin"})
    connect, code = (int(word) for word in done.stdout.split())
    return code or connect


@recipe
def forward_proxy_with_one_command(k: RecipeProxy) -> None:
    """It has no nginx block; test_forward.py runs it. This test parses the commands of the page."""
    from wsgi_proxy.cli.forward import main

    lines = re.findall(r"^\$ wsgi-proxy forward (.*?)(?: > .*)?$", DOCUMENT, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        assert main([*line.replace("'", "").split(), *([] if "--print" in line else ["--print"])]) == 0


@recipe
def anonymous_forward_proxy(k: RecipeProxy) -> None:
    for tunnel in ((), ("-p",)):
        assert curl(k, f"http://{k.application.address}/x", *tunnel) == 200
    assert curl(k, f"http://{k.application.address}/x", "-H", "X-Forwarded-For: 192.0.2.1", "-H", "Via: 1.1 a") == 200
    assert k.last.get_all("User-Agent") == ["Mozilla/5.0"]
    names = {name.lower() for name, _ in k.last.headers}
    assert not names & {"x-forwarded-for", "x-real-ip", "via", "forwarded", "proxy-connection"}


@recipe
def forward_proxy_with_access_rules(k: RecipeProxy) -> None:
    url = f"http://{k.application.address}/x"
    user = ("-U", "alice:secret")
    assert curl(k, url) == 407
    assert curl(k, url, *user) == 200
    assert not k.last.get_all("Proxy-Authorization")
    assert curl(k, url, *user, "-A", "some bot") == 403
    assert curl(k, "http://www.example.com/", *user) == 403
    assert curl(k, url, *user, "-p") == 403, "a tunnel to another port than 443"
    assert curl(k, "http://127.0.0.1.example.org:1/", *user) in (502, 504), "allowed, but nobody is there"


@recipe
def caching_forward_proxy(k: RecipeProxy) -> None:
    def state() -> str | None:
        return fetch(k.port(3128), f"http://{k.application.address}/kept", host=k.application.address).get("X-Cache")

    assert [state() for _ in range(3)] == ["MISS", "HIT", "HIT"]
    assert sum(request.target == "/kept" for request in k.application.requests) == 1
