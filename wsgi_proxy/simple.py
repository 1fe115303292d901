"""Configurations made in Python: a pool of servers, or Werkzeug's mapping of prefixes to targets.

Rules:
- What comes out is the same model that an nginx.conf gives, so that everything else has one path.
- The defaults are those a Python user expects: Host is kept, X-Forwarded-For, -Proto and -Host are set by us and never by the
  client, upgrades work, bodies stream both ways, and the upstream's Date and Server pass.
- No files are served, and `X-Accel-*` of an upstream is a field like any other: it may be for a server in front of this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from .config import (
    Config,
    CoreSettings,
    Location,
    ProxyPass,
    ProxySettings,
    Server,
    ServerBlock,
    Template,
    Upstream,
    UpstreamTLS,
)
from .errors import ConfigError, Fault
from .variables import Names, compile_text

FORWARDED = (
    ("Host", "$http_host"),
    ("X-Forwarded-For", "$remote_addr"),
    ("X-Forwarded-Proto", "$scheme"),
    ("X-Forwarded-Host", "$http_host"),
    ("Upgrade", "$http_upgrade"),
    ("Connection", "upgrade"),
)
"""What every upstream gets when no nginx.conf says otherwise."""

_ACCEL = tuple(f"X-Accel-{name}" for name in ("Redirect", "Expires", "Limit-Rate", "Buffering", "Charset"))

MERGE_SLASHES = False
"""`//` in a path stays: it may begin a URL (`/proxy/https://…`)."""

_OPTIONS = {"target", "remove_prefix", "host", "headers", "ssl_context"}


def config_for_pool(name: str, scheme: str = "http") -> Config:
    """Everything goes to the pool of that name."""
    settings = _proxy_settings(ProxyPass(f"{scheme}://{name}", scheme, name, host=name), FORWARDED)
    return _config((Location(pattern="/", proxy=settings, core=_core(), handler="proxy_pass"),), {})


def config_for_targets(targets: Mapping[str, Mapping[str, Any]], timeout: float) -> Config:
    """`werkzeug.middleware.http_proxy.ProxyMiddleware`'s mapping: prefix → target, remove_prefix, host, headers, ssl_context."""
    locations: list[Location] = []
    upstreams: dict[str, Upstream] = {}
    for prefix, options in targets.items():
        unknown = set(options) - _OPTIONS
        if unknown or "target" not in options:
            what = f"unknown option {sorted(unknown)[0]!r}" if unknown else "no target"
            raise ConfigError(Fault(f"proxy target for {prefix!r}: {what}"))
        location, upstream = _target(normal_prefix(prefix), options, timeout)
        locations.append(location)
        upstreams[upstream.name] = upstream
    return _config(tuple(locations), upstreams)


def normal_prefix(prefix: str) -> str:
    """As Werkzeug takes it: with one slash at each end."""
    inner = prefix.strip("/")
    return f"/{inner}/" if inner else "/"


def _target(prefix: str, options: Mapping[str, Any], timeout: float) -> tuple[Location, Upstream]:
    url = urlsplit(str(options["target"]))
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ConfigError(Fault(f"proxy target for {prefix!r}: {options['target']!r} is not an http URL"))
    base = url.path.rstrip("/")
    uri: str | None = None
    if options.get("remove_prefix"):
        uri = base + "/"
    elif base:
        uri = base + prefix
    host = options.get("host", "<auto>")
    fields = dict(FORWARDED) | {name: _literal(value) for name, value in dict(options.get("headers") or {}).items()}
    if host is not None:
        fields["Host"] = "$proxy_host" if host == "<auto>" else _literal(host)
    pass_ = ProxyPass(str(options["target"]), url.scheme, url.netloc, uri, host=url.netloc)
    tls = UpstreamTLS(server_name=True, context=options.get("ssl_context"))
    settings = _proxy_settings(pass_, tuple(fields.items()), timeout, tls)
    location = Location(pattern=prefix, proxy=settings, core=_core(), handler="proxy_pass")
    port = url.port or (443 if url.scheme == "https" else 80)
    address = f"[{url.hostname}]:{port}" if ":" in url.hostname else f"{url.hostname}:{port}"
    return location, Upstream(url.netloc, (Server(address),))


def _proxy_settings(
    pass_: ProxyPass, fields: tuple[tuple[str, str], ...], timeout: float = 60.0, tls: UpstreamTLS | None = None
) -> ProxySettings:
    names = Names()
    templates: tuple[tuple[str, Template], ...] = tuple((name, compile_text(value, names)) for name, value in fields)
    return ProxySettings(
        pass_=pass_,
        set_header=templates,
        pass_header=("Date", "Server", *_ACCEL),
        ignore_headers=frozenset(name.lower() for name in _ACCEL),
        redirect=(),
        request_buffering=False,
        connect_timeout=timeout,
        read_timeout=timeout,
        send_timeout=timeout,
        tls=tls or UpstreamTLS(server_name=True),
    )


def _core() -> CoreSettings:
    return CoreSettings(client_max_body_size=0)


def _config(locations: tuple[Location, ...], upstreams: Mapping[str, Upstream]) -> Config:
    settings = Location(kind="server", core=_core(), handler="none")
    server = ServerBlock(locations=locations, settings=settings, merge_slashes=MERGE_SLASHES)
    return Config(servers=(server,), upstreams=upstreams, core=_core())


def _literal(text: str) -> str:
    """A header's value from Python is a value, not a template."""
    if "$" in text:
        raise ConfigError(Fault(f"a header's value may not hold a $: {text!r}"))
    return text.encode().decode("latin-1")
