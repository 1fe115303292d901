"""The destinations of `proxy_pass` and of the gateways' directives, and the upstreams that they name."""

from __future__ import annotations

import re
from dataclasses import replace

from ...access import client_names
from ...config import ProxyPass, Server, Upstream
from ...http import file_name
from ...upstream import split, split_port
from .reading import Reading
from .row import Bad, BadValue, Level, Statement

_URI_PART = (
    '"proxy_pass" cannot have URI part in location given by regular expression, or inside named location, '
    'or inside "if" statement, or inside "limit_except" block'
)


def proxy_pass(level: Level, statement: Statement) -> None:
    if "proxy.pass_" in level.own:
        raise BadValue("is duplicate")
    url = statement.args[0]
    level.own["location.handler"] = "proxy_pass"
    if "$" in url:
        scheme = "https" if url.lower().startswith("https://") else "http"
        passed = level.own["proxy.pass_"] = ProxyPass(url, scheme, template=level.template(url), place=statement.place)
        note_client_names(level, "proxy.pass_", passed)
        return
    found = re.match(r"(https?)://(.*)", url, re.IGNORECASE | re.DOTALL)
    if found is None:
        raise Bad("invalid URL prefix")
    scheme = found[1].lower()
    address, uri = split(found[2])
    if uri is not None and not _may_have_uri(level):
        raise Bad(_URI_PART)
    if not address:
        raise Bad('no host in upstream ""')
    name, port = address_of(address)
    default = port is None or port == (443 if scheme == "https" else 80)
    host = "localhost" if name.startswith("unix:") else (name if default else f"{name}:{port}")
    target = ProxyPass(url, scheme, address, uri, host, place=statement.place)
    level.own["proxy.pass_"] = target
    level.reading.later(statement.place, lambda: _find_upstream(level, target, name, port))


def note_client_names(level: Level, target: str, passed: ProxyPass) -> None:
    """Set the destination's `client_names` when all regular expressions are known, whose groups a client chooses, too."""

    def note() -> None:
        level.own[target] = replace(passed, client_names=client_names(passed.url, level.reading.names.captures))

    level.reading.later(passed.place, note)


def _may_have_uri(level: Level) -> bool:
    return level.kind == "location" and level.own["location.kind"] in ("", "=", "^~")


def address_of(address: str) -> tuple[str, int | None]:
    """Return (host in lower case or `unix:/path`, port as given or None). Raise Bad for a text that is no address."""
    try:
        host, port = split_port(address)
    except ValueError as error:
        raise Bad(str(error).replace(f' in "{address}"', f' in upstream "{address}"')) from None
    return host if host.startswith("unix:") else host.lower(), port


def _find_upstream(level: Level, target: ProxyPass, name: str, port: int | None) -> None:
    """Set the target's upstream when all upstream blocks are known: one of them, or one made for the address."""
    upstreams = level.reading.upstreams
    block = upstreams.get(name.lower())
    if block is not None and block.place.line and port is not None:
        raise Bad(f'upstream "{name}" may not have port {port}')
    if block is None or not block.place.line:
        block = implicit_upstream(level.reading, name, port or (443 if target.scheme == "https" else 80), target)
    level.own["proxy.pass_"] = replace(target, upstream=block.name)


def implicit_upstream(reading: Reading, name: str, port: int, target: ProxyPass) -> Upstream:
    """Return the upstream of one address, shared by all targets with that address."""
    key = name if name.startswith("unix:") else f"{name}:{port}"
    known = reading.upstreams.get(key)
    if known is None:
        server = Server(file_name(key), place=target.place)
        known = reading.upstreams[key] = Upstream(key, (server,))
    return known
