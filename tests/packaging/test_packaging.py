"""Shipped files: the wheel, the images, the compose file and the commands of the Makefile."""

from __future__ import annotations

import ast
import configparser
import email
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import ROOT, Running, environment, fetch, free_port, run_gunicorn, running, wait_until
from wsgi_proxy import nginx
from wsgi_proxy.nginx import reader

METADATA = ["pyproject.toml", "setup.py", "README.md", "LICENSE"]
SOURCES = sorted(path.relative_to(ROOT) for path in (ROOT / "wsgi_proxy").rglob("*.py"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that nothing is left in the source tree."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "wsgi_proxy", source / "wsgi_proxy", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in METADATA:
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)]
    env = {**os.environ, "WSGI_PROXY_PURE": "1"}  # test_setup.py makes the other kind
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_everything_it_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    needed = {str(path.relative_to(ROOT)) for path in (ROOT / "wsgi_proxy").rglob("*") if path.is_file()}
    needed = {name for name in needed if "__pycache__" not in name and not name.endswith(".so")}
    assert {"wsgi_proxy/py.typed", "wsgi_proxy/cli/demo.conf"} <= needed <= names
    assert {name.partition("/")[0] for name in names} == {"wsgi_proxy", "wsgi_proxy_nginx-1.0.0.dist-info"}


def test_the_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = "wsgi_proxy_nginx-1.0.0.dist-info/"
        text = email.message_from_bytes(archive.read(info + "METADATA"))
        entry_points = configparser.ConfigParser()
        entry_points.read_string(archive.read(info + "entry_points.txt").decode())
        assert any(name.endswith("/LICENSE") for name in archive.namelist())
    # "wsgi-proxy" on PyPI is another project.
    assert text["Name"] == "wsgi-proxy-nginx"
    assert text["Requires-Python"] == ">=3.10"
    assert dict(entry_points["console_scripts"]) == {"wsgi-proxy": "wsgi_proxy.cli:main"}
    required = {re.split(r"[\[<>=!~ ]", line)[0].lower() for line in text.get_all("Requires-Dist", []) if ";" not in line}
    assert required == {"werkzeug", "requests", "gunicorn", "cachecontrol", "crossplane", "gevent", "mypy-extensions"}


def test_the_wheel_runs_from_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run(pip, check=True, timeout=120)
    code = "import wsgi_proxy.cli.demo as d; print(d.__file__); assert 'least_conn' in d.configuration()"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(target)}, cwd=tmp_path, capture_output=True, text=True, timeout=20
    )
    assert done.stdout.startswith(str(target)), done.stderr


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, built from a copy with additional files that must not be shipped."""
    folder = tmp_path_factory.mktemp("sdist")
    source = folder / "source"
    unwanted = shutil.ignore_patterns("__pycache__", ".git", ".venv", "build", ".*cache", ".hypothesis", "*.egg-info", "*.so")
    shutil.copytree(ROOT, source, ignore=unwanted)
    (source / "wsgi_proxy" / "proxy.cpython-311-x86_64-linux-gnu.so").touch()
    code = "from setuptools import build_meta; print(build_meta.build_sdist('..'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.tar.gz"))


def test_the_source_distribution_holds_tests_and_documentation(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    folders = ("wsgi_proxy", "tests", "docs", "examples", "deploy", "bench", ".ci", ".github")
    needed = {path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()}
    needed = {path for path in needed if "__pycache__" not in path.parts and path.suffix != ".so"}
    tops = {
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "README.md",
        "pyproject.toml",
        "setup.py",
        "docker-compose.yml",
    }
    assert {str(path) for path in needed} | tops <= names
    assert not [name for name in names if name.endswith((".so", ".pyc"))]


def test_a_wheel_made_of_the_source_distribution_is_the_same(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path)
    [source] = tmp_path.iterdir()
    code = "from setuptools import build_meta; print(build_meta.build_wheel('..'))"
    env = {**os.environ, "WSGI_PROXY_PURE": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=source, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as made, zipfile.ZipFile(wheel) as other:
        assert sorted(made.namelist()) == sorted(other.namelist())


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the installed wheel, as built without a compiler."""
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run(pip, check=True, timeout=120)
    (target / "wsgi_proxy" / "not_compiled.txt").write_text("no working C compiler (command 'cc' failed)\n")
    return target


def test_an_installation_without_a_compiler_says_so(site: Path) -> None:
    command = [sys.executable, "-m", "wsgi_proxy", "-V"]
    env = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(command, env=env, cwd=site, capture_output=True, text=True, timeout=120)
    lines = done.stderr.splitlines()
    assert lines[-2] == "not compiled"
    assert lines[-1].startswith("wsgi-proxy: [warn] the package was installed uncompiled")
    assert "no working C compiler (command 'cc' failed)" in lines[-1]


def test_gunicorn_says_once_that_the_package_is_not_compiled(site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "gunicorn"
    folder.mkdir()
    (folder / "hello.py").write_text("def app(environ, start):\n    start('200 OK', [])\n    return [b'ok']\n")
    with run_gunicorn("hello:app", tmp_path, "wsgi_proxy.worker.ProxyWorker", 2, env={"PYTHONPATH": str(site)}) as server:
        wait_until(lambda: "the package was installed uncompiled" in server.log(), "the warning")
    assert server.log().count("the package was installed uncompiled") == 1, server.log()


def closure(requirements: Sequence[str]) -> set[str]:
    """The names of all distributions that installing `requirements` brings, extras included."""
    found: set[str] = set()
    todo = [(Requirement(text), "") for text in requirements]
    done = set()
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        found.add(canonicalize_name(requirement.name))
        for wanted in ("", *requirement.extras):
            if (requirement.name, wanted) not in done:
                done.add((requirement.name, wanted))
                todo += [(Requirement(text), wanted) for text in metadata.requires(requirement.name) or []]
    return found


def test_what_the_server_imports_is_what_an_installation_brings(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        text = email.message_from_bytes(archive.read("wsgi_proxy_nginx-1.0.0.dist-info/METADATA"))
    brought = closure([line for line in text.get_all("Requires-Dist", []) if "extra ==" not in line])
    code = "import sys, wsgi_proxy.cli.command, wsgi_proxy.server, wsgi_proxy.worker.worker, wsgi_proxy.wsgi; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    homes = metadata.packages_distributions()
    tops = {name.partition(".")[0] for name in done.stdout.split()} - {"wsgi_proxy"}
    strangers = {top for top in tops if top in homes and not {canonicalize_name(n) for n in homes[top]} & brought}
    # Put into every interpreter by the tools of the test environment.
    strangers -= {"_distutils_hack", "sitecustomize"}
    # urllib3 imports it if it is installed, as it is for the tests.
    strangers -= {"brotli", "_brotli"}
    assert not strangers


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_the_oldest_python_can_read_it(path: Path) -> None:
    ast.parse((ROOT / path).read_bytes(), feature_version=(3, 10))


# --- images -----------------------------------------------------------------------------------------------------------


def statements() -> list[tuple[str, str]]:
    """(instruction, arguments) of the Dockerfile, continuation lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "deploy" / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(word, rest) for word, _, rest in (line.strip().partition(" ") for line in lines if line.strip())]


def stages() -> dict[str, dict[str, list[str]]]:
    """For each stage its instructions and their arguments, those of a stage that it is built on included."""
    found: dict[str, dict[str, list[str]]] = {}
    current: dict[str, list[str]] = {}
    for word, rest in statements():
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = current = {key: list(values) for key, values in found.get(base, {}).items()}
        current.setdefault(word, []).append(rest)
    return found


def exec_form(stage: str, word: str) -> list[str]:
    """The last command of an instruction, as its JSON array."""
    command: list[str] = json.loads("[" + stages()[stage][word][-1].partition("[")[2])
    return command


def test_the_dockerfile_copies_only_what_there_is_and_the_context_holds() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for word, rest in statements():
        assert word in {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "STOPSIGNAL", "EXPOSE", "HEALTHCHECK", "CMD"}
        if word == "COPY" and not rest.startswith("--from="):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert Path(source).parts[0] in kept, f"{source} is left out by .dockerignore"
    assert statements()[0] == ("ARG", "PYTHON_IMAGE=python:3.13-slim")


@pytest.mark.parametrize(("stage", "port"), [("echo", "3000"), ("proxy", "80")])
def test_the_images_run_without_root_say_their_health_and_stop(stage: str, port: str) -> None:
    image = stages()[stage]
    assert image["USER"] == ["10001:10001"]
    assert image["STOPSIGNAL"] == ["SIGTERM"]
    assert image["EXPOSE"] == [port]
    assert image["HEALTHCHECK"] and exec_form(stage, "CMD")[0] == "wsgi-proxy"
    assert "curl" not in exec_form(stage, "HEALTHCHECK")


def test_the_health_check_of_echo_tells_a_living_server_from_a_dead_one(tmp_path: Path) -> None:
    port = free_port()
    check = [sys.executable, *(re.sub(r"', \d+\b", f"', {port}", word) for word in exec_form("echo", "HEALTHCHECK")[1:])]
    command = [sys.executable, "-m", "wsgi_proxy.cli.echo", "--bind", f"127.0.0.1:{port}"]
    with running(Running(command, tmp_path), [port]):
        assert subprocess.run(check, timeout=120).returncode == 0
    assert subprocess.run(check, timeout=120, stderr=subprocess.DEVNULL).returncode != 0


def test_the_echo_image_starts_what_there_is(tmp_path: Path) -> None:
    port = free_port()
    arguments = [word.replace("3000", str(port)) for word in exec_form("echo", "CMD")[2:]]
    with running(Running([sys.executable, "-m", "wsgi_proxy.cli.echo", *arguments], tmp_path), [port]):
        pass


def test_the_proxy_image_holds_the_configuration_its_command_names() -> None:
    image = stages()["proxy"]
    # The default configuration is ./nginx.conf.
    assert exec_form("proxy", "CMD") == ["wsgi-proxy", "-g", "daemon off;"]
    assert f"deploy/nginx.conf {image['WORKDIR'][-1]}/nginx.conf" in image["COPY"]


def test_the_configuration_of_compose_is_the_shipped_one_that_survives_a_stopped_server() -> None:
    text = (ROOT / "deploy" / "compose.conf").read_text()
    assert [line for line in text.splitlines() if "server server" in line and not line.endswith(" resolve;")] == []
    shipped = (ROOT / "deploy" / "nginx.conf").read_text()
    kept = iter(text.replace(" resolve;", ";").splitlines())
    assert all(line in kept for line in shipped.splitlines()), "the lines of nginx.conf, in their order"
    config = reader.loads(text)
    assert nginx.unresolved(config) == []
    assert all(location.proxy.connect_timeout == 2 for location in config.servers[0].locations)
    (volume,) = compose()["services"]["nginx"]["volumes"]
    source, target, mode = volume.split(":")
    assert (ROOT / source).exists() and target == "/etc/wsgi-proxy/nginx.conf" and mode == "ro"


# --- the image's commands, confined as Docker confines them ---------------------------------------------------------------

CONFINED = """
set -e
mount -n -o remount,bind,ro /
mount -n -t tmpfs -o size=64m,mode=1777 tmpfs /dev/shm
{tmp}
cd "$0"
exec setpriv --reuid {user} --regid {group} --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs -- "$@"
"""


def confined(folder: Path, user: int, tmp: str, command: list[str]) -> list[str]:
    """Return a command that runs another in `folder` with a read-only root, as a user, without capabilities.

    `tmp` is "ro" for a /tmp that cannot be written (`docker run --read-only`), "rw" for one that can (`--tmpfs /tmp`).
    """
    # The same /tmp, which may hold Python itself, is mounted again with leave to write. The directory of the test stays as it is.
    own = "mount -n --bind /tmp /tmp; mount -n -o remount,bind,rw /tmp; "
    own += f'mount -n --bind "{folder}" "{folder}"; mount -n -o remount,bind,ro "{folder}"'
    script = CONFINED.format(user=user, group=0 if user == 12345 else user, tmp=own if tmp == "rw" else "")
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(folder), *command]


def may_confine() -> bool:
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("setpriv"):
        return False
    command = confined(ROOT, 10001, "ro", [sys.executable, "-c", ""])
    return subprocess.run(command, timeout=120, stderr=subprocess.DEVNULL).returncode == 0


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every user may read."""
    with tempfile.TemporaryDirectory(prefix="wsgi-proxy-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.skipif("not may_confine()", reason="needs root, unshare, setpriv, and a Python that other users can run")
@pytest.mark.parametrize("user", [10001, 12345])
@pytest.mark.parametrize("tmp", ["ro", "rw"])
def test_the_image_runs_with_a_read_only_root_as_any_user_without_capabilities(user: int, tmp: str, public: Path) -> None:
    """`docker run --read-only --cap-drop ALL --user`; 12345 with group 0 is OpenShift's."""
    port = free_port()
    configuration = f"""events {{}} http {{ access_log /dev/stdout;
        server {{ listen 127.0.0.1:{port}; client_body_buffer_size 1k; location / {{ return 200 $pid; }}
            location /body {{ client_body_in_file_only clean; proxy_pass http://127.0.0.1:{port}/; }} }} }}"""
    (public / "nginx.conf").write_text(configuration)
    command = [sys.executable, "-m", "wsgi_proxy"]

    def inside(server: Running, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the server's namespace, as `docker exec` does."""
        enter = ["nsenter", f"--target={server.pid}", "--mount", "--", "sh", "-c"]
        script = f'cd "$0"; exec setpriv --reuid {user} --regid {user} --clear-groups -- "$@"'
        called = [*enter, script, str(public), *command, *words]
        return subprocess.run(called, env=environment(), capture_output=True, text=True, timeout=120)

    words = exec_form("proxy", "CMD")[1:]
    with running(Running(confined(public, user, tmp, [*command, *words]), public / "output"), [port]) as server:
        assert fetch(port, "/body", method="POST", body=b"x" * 10000).status == 200
        pid = int(fetch(port).text)
        status = Path(f"/proc/{pid}/status").read_text()
        assert f"Uid:\t{user}\t{user}\t{user}\t{user}\n" in status and "CapEff:\t0000000000000000\n" in status
        with pytest.raises(OSError):
            (Path(f"/proc/{server.pid}/root") / str(public).lstrip("/") / "new").write_text("")
        done = inside(server, *exec_form("proxy", "HEALTHCHECK")[1:])
        assert (done.returncode, done.stderr) == (0, "")
        done = inside(server, "-t")
        assert done.returncode == 0 and "test is successful" in done.stderr
        done = inside(server, "-s", "reload")
        assert (done.returncode, done.stderr) == (0, "")
        wait_until(lambda: int(fetch(port).text) != pid, "a worker of the reload")
        assert sorted(path.name for path in public.iterdir()) == ["nginx.conf", "output"]


# --- compose ----------------------------------------------------------------------------------------------------------


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def test_compose_is_the_described_system() -> None:
    text = compose()
    servers = [f"server{n}" for n in range(1, 7)]
    assert sorted(text["services"]) == ["nginx", *servers]
    assert text["services"]["nginx"]["ports"] == ["${BIND:-8080}:80"]
    assert text["services"]["nginx"]["depends_on"] == servers
    assert text["networks"] == {"lb_network": {"driver": "bridge"}}
    for name, service in text["services"].items():
        assert service["restart"] == "always"
        assert service["networks"] == ["lb_network"]
        assert service["build"]["target"] == ("proxy" if name == "nginx" else "echo")
        assert service["build"]["target"] in stages()
        assert (ROOT / service["build"]["dockerfile"]).exists()
        assert service["build"]["args"] == {"PYTHON_IMAGE": "${PYTHON_IMAGE:-python:3.13-slim}"}


def test_compose_uses_only_what_both_generations_read() -> None:
    text = compose()
    # v1.29 reads a file without `version` as the Compose specification; v2 warns of one that has it.
    assert set(text) == {"services", "networks", "x-echo"}
    known = {"build", "restart", "networks", "ports", "sysctls", "depends_on", "volumes"}
    assert all(set(service) <= known for service in text["services"].values())


# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["demo", "test", "test-source", "lint", "bench"])
def test_make_knows_its_targets(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_check_of_a_clean_machine_ends_with_the_tests() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", str(script)], timeout=120).returncode == 0
    lines = script.read_text().splitlines()
    assert lines[-1] == 'check test ""'
    assert any("--last-failed" in line for line in lines)
