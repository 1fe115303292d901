"""The URL of a `proxy_pass`: unix sockets, variables, upstream blocks by name, and texts that are no URL, in nginx and here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.support import Recorded, Recorder, Wire, fetch, free_port, reply, run_nginx, run_proxy

CONF = """
events {{}}
http {{
  log_format sides '$request_uri $status $upstream_addr|$proxy_host|$proxy_port';
  access_log {log} sides;
  map $arg_to $to {{
    default unix:{a}; b unix:{b}; uri unix:{b}:/pre/; query unix:{b}:?k=1; slashes unix://{a}; missing unix:{folder}/none;
    empty unix:; block up; BLOCKS UP; mixed mixed; tcp 127.0.0.1:{tcp}; tcpuri 127.0.0.1:{tcp}?z=1; letters 127.0.0.1:x;
    zero 127.0.0.1:0; large 127.0.0.1:99999; slash /x; bracket "[::1"; unknown nosuch.invalid; port up:80;
  }}
  map $arg_to $whole {{ default http://up; upper HTTP://up/; other ftp://up; none http://; bare up; socket http://unix:{b}:/c; }}
  upstream up {{ server unix://{a}; }}
  upstream Mixed {{ server unix:{a}; }}
  server {{
    listen {port};
    location /name {{ proxy_pass http://unix:{folder}/$arg_to.sock; }}
    location /uri {{ proxy_pass http://unix:{folder}/$arg_to.sock:/uri; }}
    location /to {{ proxy_pass http://$to; }}
    location /behind {{ proxy_pass http://$to$request_uri; }}
    location /whole {{ proxy_pass $whole; }}
    location /fixed {{ proxy_pass http://unix://{b}:/y/; }}
    location /block {{ proxy_pass http://up; }}
  }}
}}
"""
TO = (
    "", "b", "uri", "query", "slashes", "missing", "empty", "block", "BLOCKS", "mixed", "tcp", "tcpuri", "letters", "zero",
    "large", "slash", "bracket", "unknown", "port",
)  # fmt: skip
TARGETS = [
    *(f"/name?to={name}" for name in ("a", "b", "none")),
    "/uri/x?to=a",
    *(f"/to/x?to={name}" for name in TO),
    # A path ends only at a colon, so these sockets do not exist.
    *(f"/behind?to={name}" for name in ("b", "uri", "block", "tcp")),
    *(f"/whole?to={name}" for name in ("", "upper", "other", "none", "bare", "socket")),
    "/fixed/q?x",
    "/block?x",
]


def says(name: str) -> Callable[[Recorded, Wire], bytes]:
    return lambda request, wire: reply(f"{name} {request.target} {request.get('host')}".encode())


@contextmanager
def upstreams(folder: Path) -> Iterator[dict[str, Any]]:
    a, b = folder / "a.sock", folder / "b.sock"
    with Recorder(says("a"), path=a), Recorder(says("b"), path=b), Recorder(says("tcp")) as tcp:
        yield {"a": a, "b": b, "tcp": tcp.port, "folder": folder}


def seen(run: Any, folder: Path, names: dict[str, Any]) -> list[tuple[str, int, bytes, str]]:
    port, log = free_port(), folder / f"{run.__name__}.log"
    found = []
    with run(CONF.format(port=port, log=log, **names), folder):
        for target in TARGETS:
            response = fetch(port, target)
            found.append((target, response.status, response.body if response.status == 200 else b""))
    # Under threads the line of a request may follow that of the next one.
    logged = dict(line.split(" ", 1) for line in log.read_text().splitlines())
    lines = [logged[target] for target in TARGETS]
    # A text that is no URL never has an upstream; nginx's variables are then empty instead of unset.
    shown = [line if "|" in line and not line.startswith("500") else line[:3] for line in lines]
    return [(*each, line) for each, line in zip(found, shown, strict=True)]


def test_urls_with_unix_sockets_and_variables(tmp_path: Path) -> None:
    with ExitStack() as stack:
        names = stack.enter_context(upstreams(tmp_path))
        theirs = seen(run_nginx, tmp_path, names)
        ours = seen(run_proxy, tmp_path, names)
    assert [each for each in zip(ours, theirs, strict=True) if each[0] != each[1]] == []
    assert [status for _, status, _, _ in ours].count(200) > 15
