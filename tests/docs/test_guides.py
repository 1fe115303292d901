"""The documentation: every configuration loads, every program runs, every command is known, guides hold their promises.

`docs/recipes.md` has a test for each recipe in test_recipes.py, `docs/python.md` in test_docs.py, README in wsgi/test_app.py.
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client as WerkzeugClient

from tests.docs.test_contributing import PROJECT
from tests.support import (
    ROOT,
    Recorded,
    Recorder,
    Running,
    Wire,
    environment,
    fetch,
    free_port,
    reply,
    run_gunicorn,
    run_proxy,
    running,
)
from tests.support.tls import Files
from wsgi_proxy.nginx import reader as nginx

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
COMMAND = [sys.executable, "-m", "wsgi_proxy"]


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a language in a page, also those inside a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", path.read_text(), re.S | re.M)
    return [re.sub(rf"^{indent}", "", text, flags=re.M) for indent, text in found]


def numbered(language: str, *without: str) -> list[tuple[str, int]]:
    """(page, number) of every block of a language."""
    pages = [path for path in PAGES if path.name not in without]
    return [(str(path.relative_to(DOCS)), number) for path in pages for number in range(len(blocks(path, language)))]


def block(page: str, number: int, language: str = "nginx") -> str:
    return blocks(DOCS / page, language)[number]


# --- configurations ---------------------------------------------------------------------------------------------------------


def whole(text: str) -> str:
    """Return a whole configuration around a block, which may need `http`, `server` or `location`, by its directives."""
    if re.search(r"^http \{", text, re.M):
        return text if re.search(r"^events \{", text, re.M) else f"events {{}} {text}"
    if re.search(r"^(location|proxy_set_header) ", text, re.M) and not re.search(r"^server \{", text, re.M):
        text = f"server {{ {text} }}"
    return f"events {{}} http {{ {text} }}"


@pytest.fixture(scope="module")
def etc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that stands for /etc and /srv of the pages."""
    folder = tmp_path_factory.mktemp("guides")
    files = Files(folder)
    for name in ("www.example.org",):
        certificate, key = files.pair(name)
        live = folder / "letsencrypt" / "live" / name
        live.mkdir(parents=True)
        (live / "fullchain.pem").write_bytes(Path(certificate).read_bytes())
        (live / "privkey.pem").write_bytes(Path(key).read_bytes())
    return folder


@pytest.mark.parametrize(("page", "number"), numbered("nginx", "recipes.md"))
def test_every_configuration_loads(page: str, number: int, etc: Path) -> None:
    text = re.sub(r"(?<=[ ;{\n])proxy_pass http://echo;", "proxy_pass http://127.0.0.1:3000;", block(page, number))
    text = text.replace("/etc/letsencrypt", f"{etc}/letsencrypt")
    nginx.loads(whole(text), path=str(etc / "nginx.conf"))


def application(request: Recorded, wire: Wire) -> bytes:
    """The application behind the guides: it knows a login, and answers all else with the target."""
    if request.target == "/check-login/":
        user = (request.get_all("Cookie") or [""])[0].removeprefix("session=")
        return reply(b"", status=204, headers=[("X-Remote-User", user)]) if user else reply(b"", status=401)
    return reply(request.target.encode())


@pytest.fixture
def behind() -> Iterator[Recorder]:
    with Recorder(application) as upstream:
        yield upstream


def served(text: str, behind: Recorder, **paths: Path) -> tuple[str, int]:
    """A runnable configuration of a block, and the port of its `listen 80`."""
    port = free_port()
    text = re.sub(r"127\.0\.0\.1:300[01]", behind.address, text)
    text = re.sub(r"listen 80\b", f"listen 127.0.0.1:{port}", text)
    for name, path in paths.items():
        text = text.replace(name.replace("_", "/"), str(path))
    return whole(text), port


def test_static_files_beside_an_application(behind: Recorder, tmp_path: Path) -> None:
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "site.css").write_text("a {}")
    text, port = served(block("guides/static-files.md", 0), behind, _srv_www=tmp_path)
    with run_proxy(text, tmp_path):
        found = fetch(port, "/static/site.css")
        assert (found.status, found.body) == (200, b"a {}")
        assert "max-age=2592000" in found.get_all("Cache-Control") and "public" in found.get_all("Cache-Control")
        assert fetch(port, "/other").body == b"/other"


def test_a_single_page_application(behind: Recorder, tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("the page")
    (tmp_path / "assets" / "app.js").write_text("js")
    text, port = served(block("guides/static-files.md", 2), behind, _srv_spa=tmp_path)
    with run_proxy(text, tmp_path):
        for path in ("/", "/deep/link"):
            assert (fetch(port, path).body, fetch(port, path).get("Cache-Control")) == (b"the page", "no-cache")
        assert fetch(port, "/assets/app.js").get("Expires") == "Thu, 31 Dec 2037 23:55:55 GMT"
        assert fetch(port, "/assets/none.js").status == 404
        assert fetch(port, "/api/x").body == b"/api/x"


def test_files_first_then_the_application(behind: Recorder, tmp_path: Path) -> None:
    (tmp_path / "robots.txt").write_text("robots")
    text, port = served(block("guides/static-files.md", 3), behind, _srv_www=tmp_path)
    with run_proxy(text, tmp_path):
        assert fetch(port, "/robots.txt").body == b"robots"
        assert fetch(port, "/x?y").body == b"/x?y"


def test_behind_a_load_balancer(behind: Recorder, tmp_path: Path) -> None:
    text, port = served(block("guides/load-balancer.md", 0), behind)
    with run_proxy(text, tmp_path):
        sent = [("X-Forwarded-For", "6.6.6.6, 198.51.100.7, 10.1.1.1"), ("X-Forwarded-Proto", "https")]
        assert fetch(port, "/x", headers=sent).status == 200
        assert fetch(port, "/healthz").body == b"ok\n"
    (request,) = behind.requests
    assert (request.get("X-Real-IP"), request.get("X-Forwarded-Proto")) == ("198.51.100.7", "https")


def test_a_login_is_checked_first(behind: Recorder, tmp_path: Path) -> None:
    text, port = served(block("guides/from-django-revproxy.md", 0), behind)
    with run_proxy(text, tmp_path):
        refused = fetch(port, "/legacy/a", host="www.example.org")
        assert (refused.status, refused.get("Location")) == (302, f"http://www.example.org:{port}/login/?next=/legacy/a")
        assert fetch(port, "/check-login").status == 404
        allowed = fetch(port, "/legacy/a", headers=[("Cookie", "session=alice"), ("Remote-User", "root")])
        assert allowed.body == b"/a"
    assert behind.requests[-1].get_all("Remote-User") == ["alice"]


def test_a_challenge_is_answered_and_all_else_redirected(behind: Recorder, tmp_path: Path) -> None:
    challenge = tmp_path / ".well-known" / "acme-challenge"
    challenge.mkdir(parents=True)
    (challenge / "token").write_text("answer")
    text, port = served(block("guides/tls.md", 0), behind, _var_lib_letsencrypt=tmp_path)
    with run_proxy(text, tmp_path):
        found = fetch(port, "/.well-known/acme-challenge/token")
        assert (found.body, found.get("Content-Type")) == (b"answer", "text/plain")
        assert fetch(port, "/a?b", host="www.example.org").get("Location") == "https://www.example.org/a?b"


# --- programs ---------------------------------------------------------------------------------------------------------------

DJANGO = """\
from django.conf import settings
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x")
urlpatterns = []
"""
PROGRAMS: dict[tuple[str, int], list[tuple[str, str]]] = {
    ("guides/mounting.md", 0): [("/", "home"), ("/legacy/a", "/legacy/a")],
    ("guides/mounting.md", 1): [("/legacy/a", "/legacy/a")],
    ("guides/mounting.md", 3): [("/", "home"), ("/legacy/a?b", "/a?b")],
    ("guides/mounting.md", 4): [("/", "home"), ("/shop/a", "/shop/a")],
    ("guides/from-werkzeug.md", 0): [("/", "mine"), ("/static/a", "/a"), ("/api/a", "/api/a")],
    ("guides/from-django-revproxy.md", 1): [("/legacy/a", "/a")],
    ("guides/load-balancer.md", 0): [("/a", "/a")],
}
"""Programs that gunicorn runs: the targets to fetch and their bodies."""
OTHERS = {
    ("guides/mounting.md", 2): "an ASGI application",
    ("guides/from-django-revproxy.md", 0): "the other package's",
    ("guides/from-django-revproxy.md", 2): "a view",
    ("caching.md", 0): "a class",
}
"""Programs with a test below, or that belong to another package."""


def test_no_program_is_forgotten() -> None:
    assert sorted([*PROGRAMS, *OTHERS]) == numbered("python", "python.md")


@pytest.mark.parametrize("key", PROGRAMS, ids=lambda key: f"{key[0]} {key[1]}")
def test_a_program_forwards(key: tuple[str, int], behind: Recorder, tmp_path: Path) -> None:
    folder = tmp_path / "gunicorn"
    folder.mkdir()
    text = re.sub(r"http://127\.0\.0\.1:300\d", behind.url, block(*key, "python"))
    (folder / "example.py").write_text((DJANGO if "django" in text else "") + text)
    (folder / "nginx.conf").write_text(re.sub(r"127\.0\.0\.1:300\d", behind.address, block("guides/mounting.md", 0)))
    name = "application" if re.search(r"^application = ", text, re.M) else "app"
    with run_gunicorn(f"example:{name}", tmp_path, "gthread") as server:
        for target, body in PROGRAMS[key]:
            assert fetch(server.port, target, headers=[("X-Forwarded-For", "198.51.100.7")]).body == body.encode()
    # Under an nginx.conf the client's own field is passed on.
    address = "198.51.100.7" if "ProxyFix" in text or "nginx.conf" in text else "127.0.0.1"
    assert behind.requests[-1].get("X-Forwarded-For") in (address, None)


def test_an_asgi_application_mounts_it(behind: Recorder) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    exec(block("guides/mounting.md", 2, "python").replace("http://127.0.0.1:3001", behind.url), names)

    async def get(path: str) -> bytes:
        body = b""

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            nonlocal body
            body += message.get("body", b"")

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
        }
        scope |= {"raw_path": path.encode(), "query_string": b"b", "root_path": "", "headers": [(b"host", b"a")]}
        scope |= {"server": ("a", 80), "client": ("127.0.0.1", 1)}
        await names["app"](scope, receive, send)
        return body

    assert asyncio.run(get("/")) == b'"home"'
    assert asyncio.run(get("/legacy/a")) == b"/a?b"


def test_the_view_that_checks_a_login() -> None:
    code = DJANGO + block("guides/from-django-revproxy.md", 2, "python")
    code += """
import types
from django.http import HttpRequest
request = HttpRequest()
for known, status, name in ((True, 204, "alice"), (False, 401, None)):
    request.user = types.SimpleNamespace(is_authenticated=known, get_username=lambda: "alice")
    response = check_login(request)
    assert (response.status_code, response.headers.get("X-Remote-User")) == (status, name)
"""
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_storage_is_one(behind: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs_storage.py").write_text(block("caching.md", 0, "python"))
    monkeypatch.syspath_prepend(tmp_path)
    directive = block("caching.md", 2).replace("my.package", "docs_storage")
    (tmp_path / "nginx.conf").write_text(
        whole(f"{directive} server {{ location / {{ proxy_pass {behind.url}; proxy_cache pages; proxy_cache_valid 1m; }} }}")
    )
    from wsgi_proxy import Proxy

    app = Proxy.from_nginx(tmp_path / "nginx.conf")
    client = WerkzeugClient(app)
    states = [client.get("/kept").headers["Cache-Status"] for _ in range(2)]
    app.close()
    assert "stored" in states[0] and "hit" in states[1] and len(behind.requests) == 1


# --- commands ---------------------------------------------------------------------------------------------------------------

ELSEWHERE = {"docker", "kubectl", "helm", "sudo", "python3", ".", "make", "curl", "pip"}
"""Commands that install, or that need another machine: some tests below check their arguments."""


def lines(path: Path) -> list[str]:
    """The commands of a page's shell blocks, continued lines joined."""
    text = "\n".join(blocks(path, "sh")).replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.strip()]


COMMANDS = sorted({line for path in (*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md") for line in lines(path)})


def test_every_command_is_known() -> None:
    # A line such as `page=http://…` sets a variable of the shell for the next one.
    words = {word for line in COMMANDS if not re.match(r"[a-z]+=", word := line.split()[0])}
    assert words - ELSEWHERE == {"wsgi-proxy", "gunicorn", "WSGI_PROXY_CONFIG=nginx.conf"}


@pytest.mark.parametrize("line", [line for line in COMMANDS if "wsgi-proxy-nginx" in line])
def test_what_is_installed_exists(line: str) -> None:
    (found,) = re.findall(r"wsgi-proxy-nginx(?:\[(\w+)\])?", line)
    assert PROJECT["project"]["name"] == "wsgi-proxy-nginx"
    assert not found or found in PROJECT["project"]["optional-dependencies"]


def test_every_extra_that_a_user_needs_is_in_the_list() -> None:
    told = set(re.findall(r"wsgi-proxy-nginx\[(\w+)\]", (DOCS / "getting-started.md").read_text()))
    assert told == set(PROJECT["project"]["optional-dependencies"]) - {"docs", "bench", "test"}


def runs_alone(line: str) -> bool:
    """Return True for a command of this package that ends by itself and needs no server: no signal, start or status."""
    words = shlex.split(line, comments=True)
    if words[0] != "wsgi-proxy" or words[-1] == "&" or words[1] in ("-s", "-c", "status", "top"):
        return False
    return words[1] != "echo" and not (words[1] == "forward" and "--print" not in words)


@pytest.mark.parametrize("line", [line for line in COMMANDS if runs_alone(line)])
def test_a_command_succeeds(line: str, behind: Recorder, tmp_path: Path) -> None:
    words = shlex.split(line, comments=True)[1:]
    port = free_port()
    (tmp_path / "nginx.conf").write_text(
        f"events {{}} http {{ proxy_cache_path {tmp_path}/cache keys_zone=pages:1m; "
        f"server {{ listen {port}; location / {{ proxy_pass {behind.url}; proxy_cache pages; proxy_cache_valid 1h; }} }} }}"
    )
    if words[0] == "cache":
        explained = ["explain", "-c", str(tmp_path / "nginx.conf"), "GET", "http://example.com/index.html"]
        assert subprocess.run([*COMMAND, *explained], env=environment(), timeout=120, capture_output=True).returncode == 0
    words = [str(tmp_path / "nginx.conf") if word.endswith("nginx.conf") else word for word in words]
    done = subprocess.run([*COMMAND, *words], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("line", [line for line in COMMANDS if "gunicorn" in line.split()[:2]])
def test_gunicorn_takes_the_command(line: str, behind: Recorder, tmp_path: Path) -> None:
    words = shlex.split(line, comments=True)
    words = words[words.index("gunicorn") + 1 :]
    (tmp_path / "app.py").write_text("def app(environ, start_response): ...\n")
    (tmp_path / "nginx.conf").write_text(f"events {{}} http {{ server {{ location / {{ proxy_pass {behind.url}; }} }} }}")
    command = [sys.executable, "-m", "gunicorn", "--check-config", *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_first_run_of_getting_started(tmp_path: Path) -> None:
    """The page's commands, in its order, on free ports."""
    page = DOCS / "getting-started.md"
    told = lines(page)
    ports = {number: free_port() for number in ("3001", "3002", "8080")}

    def local(text: str) -> str:
        for number, port in ports.items():
            text = text.replace(f"127.0.0.1:{number}", f"127.0.0.1:{port}")
        return text

    def run(line: str) -> subprocess.CompletedProcess[str]:
        words = shlex.split(local(line))
        assert words[0] == "wsgi-proxy"
        command = [*COMMAND, *words[1:]]
        return subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120)

    (tmp_path / "nginx.conf").write_text(local(blocks(page, "nginx")[0]))
    echoes = [line for line in told if line.startswith("wsgi-proxy echo")]
    assert len(echoes) == 2 and all(line.endswith(" &") for line in echoes)
    commands = [[*COMMAND, *shlex.split(local(line))[1:-1]] for line in echoes]
    check, start, ask, reload, explain, leave = told[told.index(echoes[-1]) + 1 :]
    with (
        running(Running(commands[0], tmp_path / "a"), [ports["3001"]]),
        running(Running(commands[1], tmp_path / "b"), [ports["3002"]]),
    ):
        done = run(check)
        assert done.returncode == 0 and "test is successful" in done.stderr
        assert start == "wsgi-proxy -c nginx.conf &" and ask == "curl http://127.0.0.1:8080/"
        server = Running([*COMMAND, "-c", str(tmp_path / "nginx.conf")], tmp_path / "p")
        with running(server, [ports["8080"]]):
            assert len({fetch(ports["8080"], "/").body for _ in range(8)}) == 2
            assert run(reload).returncode == 0
            assert fetch(ports["8080"], "/").status == 200
            done = run(explain)
            assert done.returncode == 0 and "response: 200" in done.stdout
            assert run(leave).returncode == 0
            server.process.wait(30)
    assert server.process.returncode == 0


# --- expected output -----------------------------------------------------------------------------------------------------------

SOURCE = "\n".join(path.read_text() for path in sorted((ROOT / "wsgi_proxy").rglob("*.py")))


def test_the_messages_of_troubleshooting_are_ours() -> None:
    text = (DOCS / "troubleshooting.md").read_text()
    start, errors = (text.split(heading)[1].split("\n## ")[0] for heading in ("## The proxy does not start", "## A client gets"))
    starts = [re.findall(r"`([^`]+)`", row.split("|")[1]) for row in start.splitlines() if row.startswith("| `")]
    logged = [re.findall(r"`([^`]+)`", row.split("|")[2]) for row in errors.splitlines() if re.match(r"\| \d", row)]
    messages = {message for row in starts + logged for message in row} - {"info"}
    known = {"Address already in use", "Permission denied", "connect() failed (111: Connection refused)"}
    assert len(messages) > 15 and known <= messages
    joined = re.sub(r'"\s*\n\s*f?"', "", SOURCE)
    for message in messages - known:
        assert message.rstrip("…").strip().split(" … ")[0] in joined, message


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_modules_and_tests_that_a_page_names_exist(path: Path) -> None:
    text = re.sub(r"^ *```.*?^ *```", "", path.read_text(), flags=re.S | re.M)
    there = {found.name for folder in ("wsgi_proxy", "tests") for found in (ROOT / folder).rglob("*.py")}
    for name in re.findall(r"(?<![\w./])(?:tests/)?([\w/]+\.py)\b", text):
        assert Path(name).name in there | {"setup.py", "wsgi.py", "app.py"}, name


def links(path: Path) -> list[str]:
    return re.findall(r"(?<!!)\]\(([^)\s]+)\)", re.sub(r"^ *```.*?^ *```", "", path.read_text(), flags=re.S | re.M))


def anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("path", [*PAGES, *sorted(ROOT.glob("*.md"))], ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    """Relative links and those to this project's repository. PyPI shows README alone: it has no relative ones."""
    own = PROJECT["project"]["urls"]["Source"]
    for link in links(path):
        if link.startswith(own):
            target = link.removeprefix(own).removeprefix("/blob/main/").removeprefix("/tree/main/")
            if target.startswith(("/issues", "/security")) or not target:
                continue
            base = ROOT
        elif "://" in link:
            continue
        else:
            assert path.name != "README.md", f"{link}: PyPI has no relative links"
            target, base = link, path.parent
        name, _, fragment = target.partition("#")
        found = (base / name) if name else path
        assert found.exists(), link
        if fragment:
            headings = re.findall(r"^#+ (.+)$", found.read_text(), re.M)
            assert fragment in map(anchor, headings), link


@pytest.mark.parametrize("path", [*PAGES, *sorted(ROOT.glob("*.md"))], ids=lambda path: path.name)
def test_no_conflict_is_left_in_a_page(path: Path) -> None:
    assert not re.search(r"^(<<<<<<<|=======|>>>>>>>)", path.read_text(), re.M)


def test_readme_names_the_other_project() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "The package `wsgi-proxy` on PyPI is another, unrelated project." in readme
    assert {"make demo", "make test"} <= set(re.findall(r"^make \w+", readme, re.M))


def test_the_packages_that_a_guide_needs_are_those_of_the_tests() -> None:
    for name in ("fastapi", "a2wsgi", "flask", "django"):
        assert importlib.util.find_spec(name) and any(
            text.startswith(name) for text in PROJECT["project"]["optional-dependencies"]["test"]
        )


def test_readme_has_the_figure_of_the_last_benchmark() -> None:
    [measured] = re.findall(
        r"^\| forward a 36-byte answer \| cpu µs/request \| wsgi_proxy \| [\d.]+ \| ([\d.]+) \|$",
        (ROOT / "bench" / "RESULTS.md").read_text(),
        re.M,
    )
    [stated] = re.findall(r"about ([\d.]+) times nginx's CPU time", (ROOT / "README.md").read_text())
    assert stated == measured
