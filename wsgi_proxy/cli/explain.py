"""`wsgi-proxy explain`: send one request and print the decisions about it.

Rules:
- The steps are read from the Exchange after the request. No decision is made a second time.
- The request is made in this process, with the shared memory of the running proxy: its limits, the state and the connections of
  its servers, its cache. Without `--count` it is not counted in the zones of `limit_req`.
- The request is real: an upstream that is chosen receives it. It is not in the access log.
- The running proxy is found by its pid file. Its shared memory belongs to the user of its workers, so root becomes that user.
"""

from __future__ import annotations

import io
import json
import logging
import os
import pwd
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..exchange import Exchange
from ..logs import errorlog
from ..shm import segment
from ..wsgi import ProxyApp
from . import places
from .decisions import Step, steps_of
from .flags import NAME, Options, UsageError, take_configuration, take_explain, take_request

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from ..config import Config


USAGE = f"""\
Usage: {NAME} explain [-c filename] [-p prefix] [--json] [--count] [-d body] [METHOD] URL [-H 'Name: value']...

Send a request and print each decision in order: server, location, rewrites, access, limits, cache, upstream, response. The
limits, the servers' states and the cache are those of the running proxy of this configuration, if there is one. A path without a
host is sent to localhost. The request is real: an upstream that is chosen receives it.
  -d body   send this body, by POST unless a method is given
  --count   count the request in the zones of limit_req
  --json    print a JSON document"""


def main(argv: list[str], read: Callable[[Options], Config]) -> int:
    """Run the command and return its exit status. `read` returns the configuration. Raises UsageError and ConfigError."""
    options, rest = take_configuration(argv)
    as_json, count, body, rest = take_explain(rest)
    if not rest or rest[0] in ("-h", "--help"):
        print(USAGE, file=sys.stdout if rest else sys.stderr)
        return 0 if rest else 1
    method, url, headers = take_request(rest, "POST" if body else "GET")
    environ_of(method, url, headers, "127.0.0.1")
    config = read(options)
    state = join_running(config)
    # The steps tell everything that the lines of the error log would, and Python prints those without a handler.
    errorlog.logger.addHandler(logging.NullHandler())
    steps = explained(config, method, url, headers, body=body, count=count)
    if as_json:
        print(json.dumps({"state": state, "steps": [step._asdict() for step in steps]}, indent=2, ensure_ascii=False))
        return 0
    print(f"state: {state}")
    for step in steps:
        print(f"{step.kind}: {step.text}")
    return 0


def explain(
    config: Config, method: str, url: str, headers: Iterable[tuple[str, str]] = (), client: str = "127.0.0.1"
) -> list[str]:
    """Send a request from the address `client` and return a line for each decision. Arguments and errors as `explained`."""
    return [f"{step.kind}: {step.text}" for step in explained(config, method, url, headers, client)]


def explained(
    config: Config,
    method: str,
    url: str,
    headers: Iterable[tuple[str, str]] = (),
    client: str = "127.0.0.1",
    *,
    body: bytes = b"",
    count: bool = True,
) -> list[Step]:
    """Send a request and return its steps.

    `url` is absolute or a path. A path without a Host field is sent to localhost. With `count` the request counts in `limit_req`.
    Raises UsageError for a URL that is neither.
    """
    environ = environ_of(method, url, list(headers), client, body)
    app = ProxyApp(config)
    try:
        if not count:
            app.guard.only_ask()
        exchange = Exchange.from_environ(environ)
        exchange.trace = []
        response = app.response(exchange)
        size = sum(len(block) for block in response.body) if method != "HEAD" else 0
        response.close()
        port = urlsplit(url).port if "://" in url else None
        default = {"http": 80, "https": 443}.get(urlsplit(url).scheme)
        return steps_of(config, exchange, response, size, port or default)
    finally:
        app.close()


def join_running(config: Config) -> str:
    """Use the shared memory of the proxy that runs this configuration, and return a sentence about it."""
    path = places.pid_file(config)
    try:
        text = Path(path).read_text(encoding="latin-1").strip()
        owner = os.stat(f"/proc/{int(text)}").st_uid
    except (OSError, ValueError):
        return f"no proxy runs with the pid file {path}; the state is that of a fresh start"
    account = _account(config, owner)
    if account != os.geteuid():
        if os.geteuid() != 0:
            name = pwd.getpwuid(account).pw_name if account in {each.pw_uid for each in pwd.getpwall()} else str(account)
            return f"the proxy {text} runs as another user, so its state is not shown; run this as {name}"
        _become(account)
    os.environ["WSGI_PROXY_ZONE"] = text
    name = segment.file_name("").rpartition("-")[0]
    if not any(list(where.glob(f"{name}-*")) for where in segment.directories()):
        del os.environ["WSGI_PROXY_ZONE"]
        return f"process {text} of the pid file is no running proxy; the state is that of a fresh start"
    return f"the running proxy, process {text}"


def _account(config: Config, owner: int) -> int:
    """Return the user ID of the workers of a main process that runs as `owner`."""
    if owner != 0 or not config.main.user:
        return owner
    return pwd.getpwnam(config.main.user).pw_uid


def _become(account: int) -> None:
    """Run as another account from now on."""
    entry = pwd.getpwuid(account)
    os.initgroups(entry.pw_name, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(account)


def environ_of(method: str, url: str, headers: list[tuple[str, str]], client: str, body: bytes = b"") -> WSGIEnvironment:
    """Return the environ that a server would make of this request. Raises UsageError for a URL that it cannot."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f'invalid URL "{url}": {error}') from None
    named = parts.scheme in ("http", "https") and parts.netloc
    if not named and not url.startswith(("/", "*")):
        raise UsageError(f'invalid URL "{url}": it begins with http://, https:// or a slash')
    target = url[url.index(parts.netloc) + len(parts.netloc) :] if parts.netloc else url
    scheme = parts.scheme or "http"
    pairs = list(headers)
    if not any(name.lower() == "host" for name, _ in pairs):
        pairs.insert(0, ("Host", parts.netloc or "localhost"))
    if body and not any(name.lower() == "content-length" for name, _ in pairs):
        pairs.append(("Content-Length", str(len(body))))
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": method,
        "RAW_URI": target or "/",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": parts.hostname or "localhost",
        "SERVER_PORT": str(port or (443 if scheme == "https" else 80)),
        "REMOTE_ADDR": client,
        "REMOTE_PORT": "0",
        "wsgi.url_scheme": scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi_proxy.pairs": pairs,
    }
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))
    for name, value in pairs:
        key = "HTTP_" + name.upper().replace("-", "_")
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ
