"""Configurations made in Python: a pool of servers, or Werkzeug's mapping of prefixes to targets.

Rules:
- The result is the model of an nginx.conf, so that both kinds of configuration are run by the same code.
- The defaults suit Python applications: Host is kept, the proxy and never the client sets X-Forwarded-For, -Proto and -Host,
  upgrades work, bodies stream both ways, and the upstream's Date and Server pass.
- No files are served. `X-Accel-*` of an upstream is passed on, because it may be meant for a server in front of this one.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ..config import (
    Config,
    CoreSettings,
    Location,
    ProxyPass,
    ProxySettings,
    Server,
    ServerBlock,
    SourceLine,
    Template,
    Upstream,
    UpstreamTLS,
    arguments,
)
from ..errors import ConfigError, Fault
from ..http import escape
from ..variables import Names, compile_text

if TYPE_CHECKING:
    import ssl

    from ..exchange import Exchange

_CLIENT = "<client>"

FORWARDED = (
    ("Host", "$http_host"),
    ("X-Forwarded-For", _CLIENT),
    ("X-Forwarded-Proto", "$scheme"),
    ("X-Forwarded-Host", "$http_host"),
    ("Upgrade", "$http_upgrade"),
    ("Connection", "upgrade"),
)
"""The fields that every upstream gets from a configuration made in Python."""

_ACCEL = tuple(f"X-Accel-{name}" for name in ("Redirect", "Expires", "Limit-Rate", "Buffering", "Charset"))

MERGE_SLASHES = False
"""`//` in a path stays, because it may begin a URL (`/proxy/https://…`)."""

_OPTIONS = ("target", "remove_prefix", "host", "headers", "ssl_context")
_FRAMING = frozenset({"content-length", "transfer-encoding"})
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~%!$&'()*+,;=-]+)(?::[0-9]*)?")
"""A Host field's value (RFC 3986, section 3.2.2)."""


def config_for_pool(name: str, scheme: str = "http", tls: UpstreamTLS | None = None) -> Config:
    """Return the configuration that forwards everything to the pool of that name."""
    fields = _templates(dict(FORWARDED))
    settings = _proxy_settings(ProxyPass(f"{scheme}://{name}", scheme, name, host=name), fields, tls=tls)
    return _config((Location(pattern="/", proxy=settings, core=_core(), handler="proxy_pass"),), {})


def config_for_targets(targets: Mapping[str, Any], timeout: float) -> Config:
    """Return the configuration for the mapping of `werkzeug.middleware.http_proxy.ProxyMiddleware`.

    Each prefix has the options target, remove_prefix, host, headers and ssl_context. `timeout` is in seconds. Raises ConfigError
    with the prefix and the name of the option.
    """
    arguments.seconds(timeout, "timeout", positive=True)
    locations: dict[str, Location] = {}
    upstreams: dict[str, Upstream] = {}
    contexts: list[ssl.SSLContext] = []
    for prefix, options in targets.items():
        pattern = normal_prefix(prefix)
        where = f"proxy target for {arguments.shown(prefix)}: "
        if pattern in locations:
            raise ConfigError(Fault(f"{where}the prefix is there twice"))
        url, settings = _target(pattern, _options(options, where), where, timeout, contexts)
        locations[pattern] = Location(pattern=pattern, proxy=settings, core=_core(), handler="proxy_pass")
        # A host that is unknown at the start of the application is looked up again when it is used.
        server = Server(url.address, resolve=True, place=SourceLine(where.removesuffix(": ")))
        upstreams.setdefault(url.address, Upstream(url.address, (server,)))
    return _config(tuple(locations.values()), upstreams)


def normal_prefix(prefix: object) -> str:
    """Return the prefix with one slash at each end, as in Werkzeug, in WSGI's form (the bytes of UTF-8 as latin-1).

    Raises ConfigError for a prefix with `.` or `..`, which no resolved path begins with.
    """
    inner = arguments.text(prefix, "prefix of a proxy target").strip("/")
    if any(part in (".", "..") for part in inner.split("/")):
        raise arguments.wrong("prefix of a proxy target", "a path without `.` and `..` is wanted", prefix)
    return f"/{inner}/".encode().decode("latin-1") if inner else "/"


def _options(given: object, where: str) -> Mapping[str, Any]:
    """Return the options of one prefix; a text is the target alone."""
    options: Any = {"target": given} if isinstance(given, str) else given
    if not isinstance(options, Mapping):
        raise arguments.wrong(where.removesuffix(": "), "a URL or a mapping of options is wanted", given)
    for name in options:
        if name not in _OPTIONS:
            raise ConfigError(Fault(f"{where}unknown option {arguments.shown(name)}"))
    if "target" not in options:
        raise ConfigError(Fault(f"{where}no target"))
    return options


class _URL:
    """The parts of a target: `authority` for Host, `address` to connect to, `credentials` for Authorization or ""."""

    def __init__(self, target: object, where: str) -> None:
        where += "target"
        text = arguments.word(target, where)
        try:
            url = urlsplit(text)
            port = url.port
            host = (url.hostname or "").encode("idna").decode()
        except ValueError:  # a port out of range, an invalid IPv6 address, a label too long
            raise arguments.wrong(where, "an http or https URL is wanted", target) from None
        bare = f"[{host}]" if ":" in host else host
        if url.scheme not in ("http", "https") or port == 0 or not _HOST.fullmatch(bare) or not _HOST.fullmatch(bare + ":1"):
            raise arguments.wrong(where, "an http or https URL is wanted", target)
        if not url.path.isascii():
            raise arguments.wrong(where, "a path with escapes is wanted (%E2%82%AC for the euro sign)", target)
        if "?" in text or "#" in text:
            raise arguments.wrong(where, "a URL without a query and a fragment is wanted", target)
        self.scheme = url.scheme
        self.authority = bare if port is None else f"{bare}:{port}"
        self.address = f"{bare}:{port or (443 if url.scheme == 'https' else 80)}"
        self.path = url.path.rstrip("/")
        self.credentials = ""
        if url.username is not None:
            pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
            self.credentials = "Basic " + base64.b64encode(pair.encode()).decode()


def _target(
    prefix: str, options: Mapping[str, Any], where: str, timeout: float, contexts: list[ssl.SSLContext]
) -> tuple[_URL, ProxySettings]:
    """Return the settings of one prefix. `contexts` holds the TLS context that all https targets share."""
    url = _URL(options["target"], where)
    uri: str | None = None
    if arguments.flag(options.get("remove_prefix", False), f"{where}remove_prefix"):
        uri = url.path + "/"
    elif url.path:
        uri = url.path + escape(prefix)
    context = options.get("ssl_context")
    if context is not None:
        context = arguments.client_context(True, context, where)
    elif url.scheme == "https":
        if not contexts:
            contexts.append(arguments.client_context(True, None, where))
        context = contexts[0]
    pass_ = ProxyPass(f"{url.scheme}://{url.authority}{url.path}", url.scheme, url.address, uri, url.authority, verbatim=True)
    fields = _templates(_fields(options, url, where))
    return url, _proxy_settings(pass_, fields, timeout, UpstreamTLS(server_name=True, context=context), 0.0)


def _fields(options: Mapping[str, Any], url: _URL, where: str) -> dict[str, str]:
    """Return the fields to set, each once, whatever the case of its name."""
    fields = dict(FORWARDED)
    fields["Host"] = "$proxy_host"
    if url.credentials:
        fields["Authorization"] = url.credentials
    names = {name.lower(): name for name in fields}
    given = options.get("headers")
    if given is None:
        given = {}
    if not isinstance(given, Mapping):
        raise arguments.wrong(f"{where}headers", "a mapping of names to values is wanted", given)
    seen: set[str] = set()
    for name, value in given.items():
        lower = arguments.token(name, f"{where}headers").lower()
        at = f"{where}headers[{name!r}]"
        if lower in _FRAMING or lower in seen:
            raise ConfigError(Fault(f"{at}: {'is there twice' if lower in seen else 'the proxy frames bodies by itself'}"))
        seen.add(lower)
        fields.pop(names.get(lower, ""), None)
        fields[name] = _host(value, at) if lower == "host" else _literal(value, at)
    host = options.get("host", "<auto>")
    if host != "<auto>":
        if "host" in seen:
            raise ConfigError(Fault(f"{where}host: is in headers, too"))
        fields["Host"] = "$http_host" if host is None else _host(host, f"{where}host")
    return fields


def _host(value: object, where: str) -> str:
    """Return the value of a Host field. Raises ConfigError for any other text."""
    if not isinstance(value, str) or not _HOST.fullmatch(value) or "$" in value:
        raise arguments.wrong(where, "a host, with or without a port, is wanted", value)
    return value


def _literal(value: object, where: str) -> str:
    """Return a field value in WSGI's form. Raises ConfigError for a `$`, because values from Python are not templates."""
    if "$" in arguments.text(value, where):
        raise ConfigError(Fault(f"{where}: a header's value may not hold a $: {arguments.shown(value)}"))
    return str(value).encode().decode("latin-1")


def _client_address(exchange: Exchange) -> str:
    """Return the client's address; "" behind a unix socket, so that the field is not sent."""
    return "" if exchange.remote_addr.startswith("unix:") else exchange.remote_addr


def _templates(fields: Mapping[str, str]) -> tuple[tuple[str, Template], ...]:
    """Return the fields with their values compiled."""
    names = Names()
    return tuple((name, _client_address if value == _CLIENT else compile_text(value, names)) for name, value in fields.items())


def _proxy_settings(
    pass_: ProxyPass,
    fields: tuple[tuple[str, Template], ...],
    timeout: float = 60.0,
    tls: UpstreamTLS | None = None,
    stream_timeout: float | None = None,
) -> ProxySettings:
    return ProxySettings(
        pass_=pass_,
        set_header=fields,
        pass_header=("Date", "Server", *_ACCEL),
        ignore_headers=frozenset(name.lower() for name in _ACCEL),
        redirect=(),
        request_buffering=False,
        connect_timeout=timeout,
        read_timeout=timeout,
        send_timeout=timeout,
        stream_timeout=stream_timeout,
        # Without a limit for the pauses of a stream, the kernel's keep-alive finds a dead upstream.
        socket_keepalive=stream_timeout == 0,
        tls=tls or UpstreamTLS(server_name=True),
    )


def _core() -> CoreSettings:
    # A path in Location stays one: the server in front of the application may have another host or port.
    return CoreSettings(
        client_max_body_size=0, absolute_redirect=False, msie_padding=False, early_hints=(compile_text("1", Names()),)
    )


def _config(locations: tuple[Location, ...], upstreams: Mapping[str, Upstream]) -> Config:
    settings = Location(kind="server", core=_core(), handler="none")
    server = ServerBlock(locations=locations, settings=settings, merge_slashes=MERGE_SLASHES)
    return Config(servers=(server,), upstreams=upstreams, core=_core())
