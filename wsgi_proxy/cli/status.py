"""`wsgi-proxy status [--json | --health]`: the figures of a running proxy, read from its status location, or its health alone.

Rules:
- The address is that of the first location of the configuration with `wsgi_proxy_status`, or the URL of `--url`. With
  `listen unix:…` it is a status socket that only local users with access to its file can read.
- An https listener of the configuration is this machine's own, so its certificate is not verified. That of `--url` is.
- The health needs no status location: then the main process must live and have a worker, and a listener must accept. No request
  is sent, so that the check reaches neither an upstream nor the access log.
- No text of the proxy reaches the terminal with control characters.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from ..config import Location, locations_of
from ..errors import ConfigError
from .flags import NAME, UsageError, take_configuration
from .places import missing_worker

if TYPE_CHECKING:
    from ..config import Config, Listen

USAGE = f"""\
Usage: {NAME} status [--json | --health] [--url URL] [-c filename] [-p prefix]

Print the figures of the running proxy: requests, latency, upstream servers, locations, limits, caches, workers. They are read
from the first location with `wsgi_proxy_status` in the configuration.
  --json     print the JSON document of `wsgi_proxy_status json`
  --health   print nothing; exit with 0 if the proxy answers there, or without such a location if it has workers and accepts
             connections, else say why not and exit with 1
  --url URL  read this status location, also of another machine"""
NO_LOCATION = (
    "the configuration has no status location; add one and reload:\n"
    "    server { listen unix:status.sock; location / { wsgi_proxy_status json; } }"
)
_PATIENCE = 10.0
"""Seconds to wait for the proxy."""


class StatusError(Exception):
    """The figures cannot be read; the text says why and names the cure."""


class Place(NamedTuple):
    """The address of a status location."""

    unix: str
    host: str
    port: int
    path: str
    name: str
    """The value of Host."""
    context: ssl.SSLContext | None


class _Connection(http.client.HTTPConnection):
    """A connection to a place: TCP, TLS or a unix socket."""

    def __init__(self, place: Place) -> None:
        super().__init__(place.host or "localhost", place.port or 80, timeout=_PATIENCE)
        self._place = place

    def connect(self) -> None:
        place = self._place
        if place.unix:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(_PATIENCE)
            self.sock.connect(place.unix)
            return
        super().connect()
        if place.context is not None:
            self.sock = place.context.wrap_socket(self.sock, server_hostname=place.host)


def place_of(config: Config) -> Place:
    """Return the address of the configuration's status location. Raises StatusError without one."""
    for server in config.servers:
        for location in locations_of(replace(config, servers=(server,))):
            if location.handler == "status" and location.core.metrics != "metrics" and location.kind in ("", "=", "^~"):
                listen = min(server.listens, key=lambda each: (not each.unix, each.ssl))
                return _at(listen, location, server.names[0] if server.names else "")
    raise StatusError(NO_LOCATION)


def _at(listen: Listen, location: Location, name: str) -> Place:
    host = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)
    name = name if name and not any(letter in name for letter in "*~") and not name.startswith(".") else "localhost"
    context = None
    if listen.ssl:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return Place(listen.unix, host, listen.port, location.pattern, name, context)


def place_of_url(url: str) -> Place:
    """Return the address of a URL, `unix:/path` included. Raises StatusError if it is none."""
    if url.startswith("unix:"):
        path, _, target = url.removeprefix("unix:").partition(":")
        return Place(path, "", 0, target or "/", "localhost", None)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise StatusError(f'"{url}" is no URL: give http://host:port/path or unix:/path/of/socket')
    secure = parts.scheme == "https"
    context = ssl.create_default_context() if secure else None
    return Place(
        "", parts.hostname, parts.port or (443 if secure else 80), parts.path or "/", parts.netloc.rpartition("@")[2], context
    )


def read(place: Place) -> dict[str, Any]:
    """Return the figures of the proxy at an address. Raises StatusError."""
    where = f"unix:{place.unix}" if place.unix else f"{place.host}:{place.port}"
    connection = _Connection(place)
    try:
        connection.request("GET", f"{place.path}?format=json", headers={"Host": place.name})
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise StatusError(f"no answer from {where}: {error}; is the proxy running?") from error
    finally:
        connection.close()
    if response.status != 200:
        raise StatusError(f"{where}{place.path} answered {response.status}: do its access rules admit this machine?")
    try:
        found: dict[str, Any] = json.loads(body)
    except ValueError as error:
        raise StatusError(f"{where}{place.path} is no status location of {NAME}") from error
    if "schema" not in found:
        raise StatusError(f"{where}{place.path} is no status location of {NAME}")
    return found


def parse(words: list[str]) -> tuple[str, list[str]]:
    """Return the URL of `--url`, "" without it, and the other words. Raises StatusError."""
    left, rest, url = list(words), [], ""
    while left:
        word = left.pop(0)
        if word == "--url" and left:
            url = left.pop(0)
        elif word == "--url":
            raise StatusError('option "--url" requires a URL')
        else:
            rest.append(word)
    return url, rest


def run(name: str, argv: list[str]) -> int:
    """Run `status` or `top` for the status location of the configuration, or that of `--url`, and return the exit status."""
    from .command import read as read_configuration

    command = import_module(f".{name}", __package__)
    if argv[:1] in (["-h"], ["--help"]):
        print(command.USAGE)
        return 0
    try:
        options, rest = take_configuration(argv)
        url, rest = parse(rest)
        if name == "status" and rest == ["--health"]:
            check(place_of_url(url) if url else None, None if url else read_configuration(options, whole=False))
            return 0
        place = place_of_url(url) if url else place_of(read_configuration(options, whole=False))
    except (UsageError, StatusError) as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 1
    except ConfigError as error:
        for fault in error.faults:
            print(f"{NAME}: [emerg] {fault}", file=sys.stderr)
        return 1
    code: int = command.main(rest, place)
    return code


def check(place: Place | None, config: Config | None) -> None:
    """Raise StatusError unless the proxy is healthy, by an answer from a place, else by its processes and a listener."""
    if config is not None:
        try:
            place = place_of(config)
        except StatusError:
            _check_processes(config)
            return
    assert place is not None
    connection = _Connection(place)
    try:
        # Any answer will do: access rules may refuse this machine.
        connection.request("GET", f"{place.path}?format=json", headers={"Host": place.name})
        connection.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        raise StatusError(f"no answer: {error}") from error
    finally:
        connection.close()


def _check_processes(config: Config) -> None:
    reason = missing_worker(config)
    if reason:
        raise StatusError(reason)
    listens = [listen for server in config.servers for listen in server.listens]
    listen = min(listens, key=lambda each: (each.proxy_protocol, each.ssl, not each.unix))
    connection = _Connection(_at(listen, Location(), ""))
    try:
        connection.connect()
    except ssl.SSLError:
        return  # a worker has refused the handshake: it answers
    except OSError as error:
        raise StatusError(f"no connection to {listen.unix or listen.port}: {error}") from error
    finally:
        connection.close()


def main(words: list[str], place: Place) -> int:
    """Run the command and return its exit status."""
    unknown = [word for word in words if word != "--json"]
    if unknown:
        print(f'{NAME}: invalid option: "{unknown[0]}"', file=sys.stderr)
        return 1
    try:
        state = read(place)
    except StatusError as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 1
    if words:
        print(json.dumps(state, indent=2))
    else:
        for line in summary(state):
            print(line)
    return 0


def summary(state: dict[str, Any]) -> Iterator[str]:
    """Yield the figures since the start as lines."""
    latency = state["latency"]
    up = "" if state["uptime"] is None else f", up {span(state['uptime'])}"
    yield f"wsgi_proxy {state['version']}{up}: {state['requests']} requests, {state['retries']} retries"
    yield "responses: " + ", ".join(f"{kind} {count}" for kind, count in state["responses"].items() if count or kind == "2xx")
    yield "latency: " + ", ".join(f"{name} {time(latency[name])}" for name in ("p50", "p90", "p99"))
    yield f"connections: {state['connections']['active']} of {len(state['workers'])} workers"
    reloads = state["reloads"]
    if reloads is not None and reloads["last_reload_ok"] is False:
        yield f"the last reload failed: {plain(reloads['last_reload_error'])}"
    for name, rows in state["upstreams"].items():
        yield f"upstream {plain(name)}:"
        for row in rows:
            why = f" ({plain(row['reason'])})" if row["reason"] else ""
            times = f", response {time(row['response']['p50'])} (p50)" if row["response"]["count"] else ""
            yield f"  {plain(row['server'])}: {row['state']}{why}, {row['tries']} tries, {row['failures']} failures{times}"
    slowest = sorted(state["locations"], key=lambda row: -(row["latency"]["p99"] or 0))
    for row in slowest[:10]:
        if row["requests"]:
            errors = f", {row['responses']['5xx']} with 5xx" if row["responses"]["5xx"] else ""
            where = plain(f"{row['server']} {row['location']}")
            yield f"location {where}: {row['requests']} requests{errors}, {time(row['latency']['p99'])} (p99)"
    for kind, zones in state["limits"].items():
        for name, zone in zones.items():
            yield f"{kind} {plain(name)}: {zone['passed']} passed, {zone['delayed']} delayed, {zone['rejected']} rejected"
    for name, zone in state["caches"].items():
        share = "none" if zone["ratio"] is None else f"{100 * zone['ratio']:.1f} %"
        yield f"cache {plain(name)}: {share} from the cache"


def plain(text: str) -> str:
    """Return a text without control characters, which a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def time(seconds: float | None) -> str:
    """Return a duration in a readable unit: 1.50 s, 12 ms, 0.45 ms."""
    if seconds is None:
        return "-"
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.2f} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"


def span(seconds: float) -> str:
    """Return an age in its largest unit: 59 s, 12 min, 5 h, 3 d."""
    for unit, limit in (("s", 120), ("min", 120 * 60), ("h", 48 * 3600)):
        if seconds < limit:
            return f"{seconds / {'s': 1, 'min': 60, 'h': 3600}[unit]:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"
