"""The model of a configuration: frozen dataclasses, with every default in one place.

Rules:
- Times are seconds (float) and sizes bytes (int). A size limit of 0 means "no limit", as in nginx.
- Text with $names is compiled when the configuration is read: a `Template` is a function of an Exchange.
- A `Location` holds the settings in force there, inherited ones included. Nothing is looked up in a parent at request time.
- The model opens no file and no socket. `nginx/reader` fills it, and the other packages act on it.
- nginx's documentation gives the meaning of each field, which is named after its directive, without `proxy_` in `ProxySettings`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

from . import arguments
from .filters import AdditionSettings, BrotliSettings, CharsetSettings, GzipSettings, SSISettings, SubSettings, UserIDSettings

if TYPE_CHECKING:
    import ssl

    from ..exchange import Exchange

__all__ = ["Config", "HealthCheck", "Policy", "ProxyTarget", "Server", "Sticky"]

Template = Callable[["Exchange"], str]
"""A text with $names, compiled by `variables.compile_text`. The attribute `constant` is the text if it has no $names, else None.
"""

Predicate = Callable[["Exchange"], bool]

FORWARDING = frozenset({"proxy_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass", "memcached_pass"})
"""The handlers that send a request to an upstream's server."""


@dataclass(frozen=True)
class SourceLine:
    """The file and line of a statement in the configuration."""

    file: str = ""
    line: int = 0


# --- upstreams --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Server:
    """One server of an upstream, with the parameters of nginx's `server` line (ngx_http_upstream_module).

    Args:
        address: `host:port`, `host` (port 80), `[v6]:port`, `unix:/path`, `http://host:port` or `https://host:port`.
        weight: The server's share of the requests, relative to the others.
        max_fails: The number of failures within `fail_timeout` after which the server is not used; 0 disables the count.
        fail_timeout: The time in which failures are counted, and for which the server is then not used, in seconds.
        max_conns: The largest number of requests in progress, over all workers; 0 sets no limit.
        slow_start: The time in which a server that is available again gets back to its weight, in seconds.
        backup: Use the server only when all others are unavailable.
        down: Never use the server.
        drain: Use the server only for requests that `sticky` binds to it.
        resolve: Resolve the name again while the server runs, when its addresses expire.
        service: The service whose SRV records name the servers, with `resolve` and name servers (`resolver`); `address` is then a
            domain name without a port.
        route: The server's value in a `sticky` cookie; by default a hash of its address.
        place: The file and line of the configuration.
    """

    address: str
    weight: int = 1
    max_fails: int = 1
    fail_timeout: float = 10.0
    max_conns: int = 0
    slow_start: float = 0.0
    backup: bool = False
    down: bool = False
    drain: bool = False
    resolve: bool = False
    service: str = ""
    route: str = ""
    place: SourceLine = SourceLine()

    def __post_init__(self) -> None:
        """Check the arguments of a Python caller. Raise ConfigError with the server and the name of the argument."""
        arguments.address(self.address, "server address")
        where = f"server {arguments.shown(self.address)}: "
        arguments.count(self.weight, where + "weight", 1)
        arguments.count(self.max_fails, where + "max_fails")
        arguments.count(self.max_conns, where + "max_conns")
        arguments.seconds(self.fail_timeout, where + "fail_timeout")
        arguments.seconds(self.slow_start, where + "slow_start")
        for name in ("backup", "down", "drain", "resolve"):
            arguments.flag(getattr(self, name), where + name)
        arguments.text(self.service, where + "service")
        arguments.text(self.route, where + "route")
        arguments.instance(self.place, SourceLine, where + "place")


class _TargetURL(TypedDict):
    target: str


class ProxyTarget(_TargetURL, total=False):
    """The options of one prefix of `ProxyMiddleware`'s mapping; see docs/python.md. Only `target` is required."""

    remove_prefix: bool
    host: str | None
    headers: Mapping[str, str]
    ssl_context: ssl.SSLContext | None


@dataclass(frozen=True)
class Policy:
    """A balancing method and its options: `Policy("hash", key=lambda exchange: exchange.uri, options=("consistent",))`.

    Args:
        name: The name of the method, or `"package.module:name"`.
        key: The function that gives the key of `"hash"`, a text, for an exchange.
        options: The arguments of the directive, such as `"consistent"`, `"two"`, `"header"`.
    """

    name: str = "round_robin"
    key: Template | None = None
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the types of the arguments. Raise ConfigError with the name of the argument."""
        arguments.text(self.name, "policy: name")
        if self.key is not None and not callable(self.key):
            raise arguments.wrong("policy: key", "a function of an exchange is wanted", self.key)
        for option in arguments.instance(self.options, tuple, "policy: options"):
            arguments.text(option, "policy: options")


@dataclass(frozen=True)
class Sticky:
    """The cookie that keeps a client with its server: `sticky cookie`.

    Args:
        cookie: The name of the cookie.
        expires: The lifetime of the cookie, in seconds; None for the browser's session.
        domain: The `Domain` attribute; a function of the exchange gives one for each response.
        path: The `Path` attribute.
        flags: Further attributes: `"httponly"`, `"secure"`, `"samesite=strict"`, `"samesite=lax"`, `"samesite=none"`; a function
            of the exchange gives one for each response, or `""` for none.
    """

    cookie: str
    expires: float | None = None
    domain: str | Template = ""
    path: str = ""
    flags: tuple[str | Template, ...] = ()

    def __post_init__(self) -> None:
        """Check the types of the arguments. Raise ConfigError with the name of the argument."""
        arguments.token(self.cookie, "sticky: cookie")
        if self.expires is not None:
            arguments.seconds(self.expires, "sticky: expires")
        if not callable(self.domain):
            arguments.text(self.domain, "sticky: domain")
        arguments.text(self.path, "sticky: path")
        for flag in arguments.instance(self.flags, tuple, "sticky: flags"):
            if not callable(flag):
                arguments.text(flag, "sticky: flags")


@dataclass(frozen=True)
class StickyRoute:
    """`sticky route $variable …`: the first variable that is not empty names the server by its `route`."""

    variables: tuple[Template, ...]


@dataclass(frozen=True)
class StickyLearn:
    """`sticky learn create=$variable lookup=$variable zone=name:size timeout= header sync`. `timeout` is in seconds."""

    create: tuple[Template, ...]
    lookup: tuple[Template, ...]
    zone: str
    size: int
    timeout: float = 600.0
    header: bool = False
    """Learn a session when the head of the response has arrived, not at its end."""
    sync: bool = False
    """Shared by all machines of the cluster."""
    place: SourceLine = SourceLine()


@dataclass(frozen=True)
class HealthCheck:
    """An active health check: `health_check` of a location, or of a pool in Python.

    Args:
        interval: The time between two checks of a server, in seconds.
        jitter: The largest random addition to `interval`, in seconds.
        fails: The number of failed checks in a row that make a server unhealthy.
        passes: The number of passed checks in a row that make it healthy again.
        uri: The URI to request.
        port: The port to connect to; 0 for the server's own.
        match: The name of a `match` block with the conditions; without one, a status of 2xx or 3xx passes.
        mandatory: Do not use a server before its first check has passed.
        persistent: Accepted together with `mandatory`, without effect: servers are checked again after a reload.
        keepalive_time: The time for which a connection is used for further checks, in seconds; 0 opens one for each check.
        check: The function that replaces the request: it gets the server's `Peer` and raises `CheckFailed` on failure.
    """

    interval: float = 5.0
    jitter: float = 0.0
    fails: int = 1
    passes: int = 1
    uri: str = "/"
    port: int = 0
    match: str = ""
    mandatory: bool = False
    persistent: bool = False
    keepalive_time: float = 0.0
    check: Callable[..., None] | None = None

    def __post_init__(self) -> None:
        """Check the arguments of a Python caller. Raise ConfigError with the name of the argument."""
        where = "health check: "
        arguments.seconds(self.interval, where + "interval", positive=True)
        arguments.seconds(self.jitter, where + "jitter")
        arguments.seconds(self.keepalive_time, where + "keepalive_time")
        arguments.count(self.fails, where + "fails", 1)
        arguments.count(self.passes, where + "passes", 1)
        arguments.count(self.port, where + "port", 0, 65535)
        arguments.text(self.match, where + "match")
        for name in ("mandatory", "persistent"):
            arguments.flag(getattr(self, name), where + name)
        if not arguments.word(self.uri, where + "uri").startswith("/") or not self.uri.isascii():
            raise arguments.wrong(where + "uri", "an escaped path is wanted", self.uri)
        if self.check is not None and not callable(self.check):
            raise arguments.wrong(where + "check", "a function of a peer is wanted", self.check)


@dataclass(frozen=True)
class Match:
    """A `match` block: the conditions for a healthy response to a health check."""

    name: str
    status: Callable[[int], bool] | None = None
    headers: tuple[Callable[[list[tuple[str, str]]], bool], ...] = ()
    body: Callable[[bytes], bool] | None = None


@dataclass(frozen=True)
class Upstream:
    """An `upstream` block: the servers and the policy that chooses among them."""

    name: str
    servers: tuple[Server, ...]
    policy: Policy = Policy()
    zone: str | None = None
    keepalive: int = 32
    keepalive_requests: int = 1000
    keepalive_time: float = 3600.0
    keepalive_timeout: float = 60.0
    queue: int = 0
    queue_timeout: float = 60.0
    resolver: tuple[str, ...] = ()
    """The name servers of this block. If empty, those of the http context (`Config.core`) are asked."""
    resolver_valid: float | None = None
    resolver_families: tuple[str, ...] = ("ipv4", "ipv6")
    resolver_timeout: float | None = None
    """None: that of the http context."""
    sticky: Sticky | StickyRoute | StickyLearn | None = None
    sync: bool = False
    """Failures, checks and connections are those of all machines of the cluster (`zone … sync`)."""
    place: SourceLine = SourceLine()


# --- settings of a location, by subject -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProxyPass:
    """`proxy_pass`: the destination of requests and the URI that replaces theirs.

    `url` is the text as written. Without variables, `upstream` names a pool of `Config.upstreams` (one made for the URL if it
    names no upstream block) and `template` is None. With variables, `template` gives the URL, and each request finds its pool.
    `uri` replaces the location's prefix. It is None if the client's target is passed on unchanged.
    """

    url: str
    scheme: str = "http"
    upstream: str = ""
    uri: str | None = None
    host: str = ""
    template: Template | None = None
    client_names: frozenset[str] = frozenset()
    """The variables by which the client chooses the host: `access.destinations` then decides about each address."""
    verbatim: bool = False
    """Send the part of the target behind the location's prefix as the client wrote it (mappings made in Python)."""
    place: SourceLine = SourceLine()


@dataclass(frozen=True)
class SettingPlace:
    """The line of one directive, for faults that are found after the reading."""

    directive: str
    path: str
    """The file that the directive names; "" if it names none, or one with variables."""
    place: SourceLine


@dataclass(frozen=True)
class UpstreamTLS:
    """`proxy_ssl_*`."""

    verify: bool | None = None
    """None if not set: off, but on for an https URL that the client of a forward proxy names (`proxy/targets.py`)."""
    trusted_certificate: str = ""
    crl: str = ""
    verify_depth: int = 1
    name: Template | None = None
    server_name: bool = False
    certificate: str | Template = ""
    certificate_key: str | Template = ""
    """Paths; those with variables are known with the request, and "" then means no certificate."""
    modified: int = 0
    """The time of the last change of a certificate whose path has variables, in nanoseconds: a new file is read again."""
    password_file: str = ""
    conf_command: tuple[tuple[str, str], ...] = ()
    protocols: tuple[str, ...] = ("TLSv1.2", "TLSv1.3")
    ciphers: str = "DEFAULT"
    session_reuse: bool = True
    context: Any = None
    """An ssl.SSLContext from Python, used unchanged."""
    by_server: bool = False
    """Verify the name of the server that the request goes to, not `$proxy_host`."""
    places: tuple[SettingPlace, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Param:
    """`fastcgi_param name value [if_not_empty]`, and those of uwsgi and SCGI."""

    name: str
    value: Template
    if_not_empty: bool = False


@dataclass(frozen=True)
class GatewaySettings:
    """The settings of `fastcgi_*`, `uwsgi_*`, `scgi_*` and `memcached_*` that `proxy_*` has not."""

    protocol: str = "fastcgi"
    """`fastcgi`, `uwsgi`, `scgi` or `memcached`."""
    param: tuple[Param, ...] = ()
    values: Callable[[Exchange], tuple[str, ...]] | None = None
    """The values of the parameters with variables that `gateway.direct` does not know: one call is cheaper than many."""
    index: str = ""
    split_path_info: re.Pattern[str] | None = None
    keep_conn: bool = False
    catch_stderr: tuple[str, ...] = ()
    modifier1: int = 0
    modifier2: int = 0
    gzip_flag: int = 0


HeaderTemplates = tuple[tuple[str, Template], ...]
Rewriter = Callable[["Exchange", str], str | None]


@dataclass(frozen=True)
class ProxySettings:
    """ngx_http_proxy_module, without caching. A location with another protocol has that module's settings here."""

    pass_: ProxyPass | None = None
    set_header: HeaderTemplates | None = None
    hide_header: tuple[str, ...] = ()
    pass_header: tuple[str, ...] = ()
    pass_trailers: bool = True
    force_ranges: bool = False
    store: Template | bool = False
    """`proxy_store`: a path, True for the file of the URI, False for `off`."""
    store_access: int = 0o600
    pass_request_headers: bool = True
    pass_forwarded: bool = False
    """Pass on the client's `Forwarded`, `X-Real-IP` and `X-Forwarded-*`, as nginx does. In a configuration made in Python only
    those of a trusted peer are passed on.
    """
    pass_request_body: bool = True
    set_body: Template | None = None
    method: Template | None = None
    http_version: str = "1.1"
    redirect: tuple[Rewriter, ...] | None = None
    """None: `proxy_redirect default`. An empty tuple: `off`."""
    cookie_domain: tuple[Rewriter, ...] = ()
    cookie_path: tuple[Rewriter, ...] = ()
    cookie_flags: tuple[tuple[Any, tuple[str | Template, ...]], ...] = ()
    connect_timeout: float = 60.0
    send_timeout: float = 60.0
    read_timeout: float = 60.0
    stream_timeout: float | None = None
    """The longest pause, in seconds, between two reads of a response's body, and in a tunnel; 0: no limit. None: as
    `read_timeout`.
    """
    next_upstream: frozenset[str] = frozenset({"error", "timeout"})
    next_upstream_tries: int = 0
    next_upstream_timeout: float = 0.0
    buffering: bool = True
    buffer_size: int = 4096
    buffers: tuple[int, int] = (8, 4096)
    busy_buffers_size: int = 8192
    max_temp_file_size: int = 1024 * 1024 * 1024
    temp_file_write_size: int = 8192
    temp_path: str = ""
    request_buffering: bool = True
    intercept_errors: bool = False
    ignore_client_abort: bool = False
    ignore_headers: frozenset[str] = frozenset()
    """The names of `proxy_ignore_headers`, in lower case."""
    limit_rate: Template | None = None
    socket_keepalive: bool = False
    bind: Template | None = None
    tls: UpstreamTLS = UpstreamTLS()
    health_checks: tuple[HealthCheck, ...] = ()
    gateway: GatewaySettings | None = None
    """The protocol of `fastcgi_pass`, `uwsgi_pass` or `scgi_pass`, whose settings these are then; None for HTTP."""


@dataclass(frozen=True)
class CacheZone:
    """`proxy_cache_path`: a store and its limits. `path` is a directory, `memory`, or `redis://host:port/db`."""

    name: str
    path: str
    levels: tuple[int, ...] = ()
    size: int = 10 * 1024 * 1024
    inactive: float = 600.0
    max_size: int = 0
    min_free: int = 0
    use_temp_path: bool = True
    place: SourceLine = SourceLine()


@dataclass(frozen=True)
class CacheSettings:
    """`proxy_cache*` of a location. None or an empty tuple means that RFC 9111 decides."""

    zone: Template | None = None
    key: Template | None = None
    valid: tuple[tuple[frozenset[int] | None, float], ...] = ()
    """(statuses or None for `any`, seconds), in the order written."""
    bypass: tuple[Template, ...] = ()
    no_cache: tuple[Template, ...] = ()
    methods: frozenset[str] = frozenset({"GET", "HEAD"})
    min_uses: int = 1
    use_stale: frozenset[str] | None = None
    background_update: bool | None = None
    revalidate: bool | None = None
    lock: bool | None = None
    lock_timeout: float = 5.0
    lock_age: float = 5.0
    convert_head: bool | None = None
    purge: tuple[Template, ...] = ()
    max_range_offset: int | None = None


@dataclass(frozen=True)
class LimitReqZone:
    """`limit_req_zone key zone=name:size rate=Nr/s`. `rate` is in thousandths of a request per second, as in nginx."""

    name: str
    key: Template
    size: int
    rate: int
    place: SourceLine = SourceLine()
    sync: bool = False
    """Counted over all machines of the cluster."""


@dataclass(frozen=True)
class LimitReq:
    """`limit_req zone= burst= nodelay|delay=`. `delay` None means `nodelay`; 0 delays every excess request."""

    zone: str
    burst: int = 0
    delay: int | None = 0


@dataclass(frozen=True)
class LimitConnZone:
    name: str
    key: Template
    size: int
    place: SourceLine = SourceLine()
    sync: bool = False
    """Counted over all machines of the cluster."""


@dataclass(frozen=True)
class LimitConn:
    zone: str
    number: int


@dataclass(frozen=True)
class Access:
    """One `allow` or `deny`: `network` is an ipaddress network, `"all"` or `"unix:"`."""

    allow: bool
    network: Any


@dataclass(frozen=True)
class GuardSettings:
    """The access rules, limits and links of a location."""

    access: tuple[Access, ...] = ()
    satisfy_any: bool = False
    auth_basic: Template | None = None
    auth_basic_user_file: Template | None = None
    auth_request: str = ""
    auth_request_set: tuple[tuple[str, Template], ...] = ()
    limit_req: tuple[LimitReq, ...] = ()
    limit_req_status: int = 503
    limit_req_log_level: str = "error"
    limit_req_dry_run: bool = False
    limit_conn: tuple[LimitConn, ...] = ()
    limit_conn_status: int = 503
    limit_conn_log_level: str = "error"
    limit_conn_dry_run: bool = False
    limit_except: tuple[frozenset[str], GuardSettings] | None = None
    internal: bool = False
    valid_referers: tuple[Any, ...] | None = None
    secure_link: Template | None = None
    secure_link_md5: Template | None = None
    secure_link_secret: str = ""
    real_ip_from: tuple[Any, ...] = ()
    real_ip_header: str = "X-Real-IP"
    real_ip_recursive: bool = False
    max_ranges: int | None = None
    tunnel_allow_upstream: tuple[Template, ...] | None = None


@dataclass(frozen=True)
class LogFormat:
    """`log_format name [escape=default|json|none] string …`, compiled."""

    name: str
    template: Template


@dataclass(frozen=True)
class AccessLog:
    """`access_log path [format [gzip[=level]] [buffer=size] [flush=time] [if=condition]]`. `path` may have variables.

    `syslog` is the text `syslog:…` of a log that is sent to a server. `buffer` is in bytes, `flush` in seconds, `gzip` a level; 0
    stands for none.
    """

    path: Template
    format: LogFormat
    condition: Template | None = None
    syslog: str = ""
    buffer: int = 0
    flush: float = 0.0
    gzip: int = 0


@dataclass(frozen=True)
class ErrorPage:
    """`error_page code … [=[response]] uri`. `response` None keeps the status; 0 takes the status of the page's response."""

    codes: frozenset[int]
    uri: Template
    response: int | None = None


@dataclass(frozen=True)
class AddHeader:
    """`add_header name value [always]`."""

    name: str
    value: Template
    always: bool = False


@dataclass(frozen=True)
class ProxyStatus:
    """`proxy_status_header`: the name of this proxy in Proxy-Status, and whether the addresses of upstream servers are told."""

    name: str = "wsgi_proxy"
    next_hop: bool = False


@dataclass(frozen=True)
class SpanAttribute:
    """An attribute of spans. `number` makes an integer of the text, and `optional` leaves out an empty one."""

    name: str
    value: Template
    number: bool = False
    optional: bool = False


@dataclass(frozen=True)
class OpenLogFileCache:
    """`open_log_file_cache`. Times are in seconds."""

    most: int
    inactive: float = 10.0
    valid: float = 60.0
    min_uses: int = 1


@dataclass(frozen=True)
class CoreSettings:
    """ngx_http_core_module and its small neighbours (headers, log, index)."""

    root: Template | None = None
    """None: `html` under the prefix."""
    alias: Template | None = None
    alias_cut: int = 0
    """The characters of a URI that `alias` replaces: the prefix of the location that has the directive, also in the locations
    inside it; -1 for a regular expression, whose alias is the whole path."""
    index: tuple[Template, ...] | None = None
    autoindex: bool = False
    autoindex_format: str = "html"
    autoindex_exact_size: bool = True
    autoindex_localtime: bool = False
    try_files: tuple[Template | int, ...] = ()
    """The candidates. The last is the fallback: a URI or @name template, or a status for `=code`."""
    subrequest_output_buffer_size: int = 4096
    """The largest response to a subrequest that is put into a variable, in bytes."""
    disable_symlinks: str = "off"
    """`off`, `on` or `if_not_owner`."""
    disable_symlinks_from: Template | None = None
    """The begin of a path that is not checked for symbolic links."""
    slice: int = 0
    """The size of the parts in which responses are fetched, in bytes; 0 for whole ones."""
    mirror: tuple[str, ...] = ()
    """The URIs that copies of requests are sent to."""
    mirror_request_body: bool = True
    types: Mapping[str, str] | None = None
    default_type: str = "text/plain"
    early_hints: tuple[Template, ...] = ()
    """Conditions. If one is neither empty nor "0", an upstream's 103 is passed on to the client."""
    error_page: tuple[ErrorPage, ...] = ()
    recursive_error_pages: bool = False
    add_header: tuple[AddHeader, ...] = ()
    add_trailer: tuple[AddHeader, ...] = ()
    expires: Template | None = None
    """A template for `off`, `epoch`, `max`, seconds (`+3600`, `-1`) or `@15h30m`."""
    expires_modified: bool = False
    access_log: tuple[AccessLog, ...] = ()
    open_log_file_cache: OpenLogFileCache | None = None
    log_not_found: bool = True
    error_log: tuple[tuple[str, str], ...] | None = None
    """(path, `stderr` or `syslog:…`, level) of this location; None for those of the main context."""
    client_max_body_size: int = 1024 * 1024
    client_body_buffer_size: int = 16 * 1024
    client_body_temp_path: str = ""
    client_body_in_file_only: str = "off"
    client_body_timeout: float = 60.0
    send_timeout: float = 60.0
    keepalive_timeout: float = 75.0
    keepalive_timeout_header: float | None = None
    keepalive_requests: int = 1000
    keepalive_time: float = 3600.0
    keepalive_disable: frozenset[str] = frozenset({"msie6"})
    """The browsers whose connections are not kept: `msie6` behind a POST, `safari` behind each request."""
    modern_browsers: tuple[tuple[str, int], ...] = ()
    """(name, version number) of each `modern_browser`; the name is `unlisted` for all that are not listed."""
    ancient_browsers: tuple[str, ...] = ()
    modern_browser_value: str = "1"
    ancient_browser_value: str = "1"
    post_action: str = ""
    """The URI or named location that each request of the location is sent to after its response; "" for none."""
    limit_rate: Template | None = None
    limit_rate_after: Template | None = None
    server_tokens: str = "on"
    proxy_status: ProxyStatus | None = None
    """`proxy_status_header`; None sends no Proxy-Status."""
    trace_context: str = "ignore"
    """`otel_trace_context`."""
    trace: Template | None = None
    """`otel_trace`: the span of a request is exported if it gives `on` or `1`. None exports none."""
    span_name: Template | None = None
    """`otel_span_name`; None for the location's name."""
    span_attributes: tuple[SpanAttribute, ...] = ()
    """`otel_span_attr`."""
    msie_padding: bool = True
    msie_refresh: bool = False
    server_name_in_redirect: bool = False
    port_in_redirect: bool = True
    absolute_redirect: bool = True
    etag: bool = True
    if_modified_since: str = "exact"
    sendfile: bool = False
    chunked_transfer_encoding: bool = True
    http2_chunk_size: int = 16 * 1024
    """The largest DATA frame to a client; nginx's default is 8 KB."""
    resolver: tuple[str, ...] = ()
    resolver_valid: float | None = None
    resolver_families: tuple[str, ...] = ("ipv4", "ipv6")
    resolver_timeout: float = 30.0
    random_index: bool = False
    empty_gif: bool = False
    stub_status: bool = False
    metrics: str = ""
    """`wsgi_proxy_status metrics|json|page`: the kind of report about the proxy's state that a location gives. Not in nginx.

    `write` is the page with actions (`page write`).
    """


@dataclass(frozen=True)
class DavSettings:
    """ngx_http_dav_module: methods that change files."""

    methods: frozenset[str] = frozenset()
    access: int = 0o600
    """The permissions of new files; those of new directories have an execute bit for each read bit."""
    create_full_put_path: bool = False
    min_delete_depth: int = 0


@dataclass(frozen=True)
class TunnelSettings:
    """ngx_http_tunnel_module: `tunnel_*`. `pass_` gives `host:port`; None if no tunnel is opened."""

    pass_: Template | None = None
    connect_timeout: float = 60.0
    send_timeout: float = 60.0
    read_timeout: float = 60.0
    buffer_size: int = 16 * 1024
    next_upstream: frozenset[str] = frozenset({"error", "timeout"})
    next_upstream_tries: int = 0
    next_upstream_timeout: float = 0.0
    socket_keepalive: bool = False
    bind: Template | None = None


# --- scripts: ngx_http_rewrite_module ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Set:
    name: str
    value: Template


@dataclass(frozen=True)
class Rewrite:
    """`rewrite`, made by `routing.compile_rewrite`. `flag` is "", "last", "break", "redirect" or "permanent".

    `replacement` gives the path and `arguments` the text behind its `?`. `keep_args` is False if the text ends with a `?`.
    """

    regex: re.Pattern[str]
    replacement: Template
    flag: str = ""
    arguments: Template | None = None
    keep_args: bool = True


@dataclass(frozen=True)
class Return:
    """`return code [text]`, `return code URL` or `return URL`. `text` None means the status alone."""

    status: int
    text: Template | None = None


@dataclass(frozen=True)
class Break:
    pass


@dataclass(frozen=True)
class If:
    """`if (condition) { … }`: the instructions, and the settings in force if it holds (None if the block sets none)."""

    condition: Predicate
    script: tuple[Instruction, ...]
    location: Location | None = None
    place: SourceLine = SourceLine()


Instruction = Set | Rewrite | Return | Break | If


@dataclass(frozen=True)
class Location:
    """A location and the settings in force there.

    `kind` is "=", "^~", "~", "~*", "" (prefix), "@" (named) or "server" (the settings of a server outside its locations). The
    location of an `if` is a copy of the location around it, with the settings in force inside the `if`.
    """

    kind: str = ""
    pattern: str = "/"
    regex: re.Pattern[str] | None = None
    locations: tuple[Location, ...] = ()
    script: tuple[Instruction, ...] = ()
    core: CoreSettings = CoreSettings()
    proxy: ProxySettings = ProxySettings()
    cache: CacheSettings = CacheSettings()
    guard: GuardSettings = GuardSettings()
    tunnel: TunnelSettings = TunnelSettings()
    gzip: GzipSettings = GzipSettings()
    brotli: BrotliSettings = BrotliSettings()
    charset: CharsetSettings = CharsetSettings()
    userid: UserIDSettings = UserIDSettings()
    sub: SubSettings = SubSettings()
    fastcgi: GatewaySettings = GatewaySettings()
    """The FastCGI settings, which `$fastcgi_script_name` reads in any location."""
    ssi: SSISettings = SSISettings()
    addition: AdditionSettings = AdditionSettings()
    dav: DavSettings = DavSettings()
    handler: str = ""
    """One of FORWARDING, "tunnel_pass", "static", "stub_status", "status", "none" (404) …; "" means static files."""
    excepted: Location | None = None
    """The settings for the methods that `limit_except` does not name, if they differ in more than access."""
    place: SourceLine = SourceLine()


# --- servers and listeners --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TLS:
    """`ssl_*` of a server."""

    certificates: tuple[tuple[Template, Template], ...] = ()
    """(certificate, key) pairs, each of which may have variables."""
    password_file: str = ""
    protocols: tuple[str, ...] = ("TLSv1.2", "TLSv1.3")
    ciphers: str = "HIGH:!aNULL:!MD5"
    prefer_server_ciphers: bool = False
    ecdh_curve: str = "auto"
    dhparam: str = ""
    session_cache: str = "none"
    session_timeout: float = 300.0
    session_tickets: bool = True
    session_ticket_key: tuple[str, ...] = ()
    conf_command: tuple[tuple[str, str], ...] = ()
    verify_client: str = "off"
    verify_depth: int = 1
    client_certificate: str = ""
    trusted_certificate: str = ""
    crl: str = ""
    reject_handshake: bool = False
    stapling: bool = False
    places: tuple[SettingPlace, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Listen:
    """One `listen`. `host` is "*" or an address (IPv6 without brackets), or `unix` with a path."""

    host: str = "*"
    port: int = 80
    unix: str = ""
    default_server: bool = False
    ssl: bool = False
    http2: bool = False
    proxy_protocol: bool = False
    backlog: int = 511
    reuseport: bool = False
    ipv6only: bool = True
    place: SourceLine = SourceLine()

    @property
    def address(self) -> str | tuple[str, int]:
        """The address that gunicorn binds: a path, or (host, port)."""
        if self.unix:
            return self.unix
        return ("0.0.0.0" if self.host == "*" else self.host, self.port)


@dataclass(frozen=True)
class ServerBlock:
    """A `server` block. `settings` are those in force outside any location."""

    listens: tuple[Listen, ...] = (Listen(),)
    names: tuple[str, ...] = ("",)
    """The names as written: exact, `*.x`, `x.*`, `.x`, `~regex`, or ""."""
    name_patterns: tuple[tuple[str, re.Pattern[str]], ...] = ()
    """The regular expressions among the names, compiled, in the order written."""
    locations: tuple[Location, ...] = ()
    named: Mapping[str, Location] = field(default_factory=dict)
    settings: Location = Location(kind="server")
    script: tuple[Instruction, ...] = ()
    tls: TLS | None = None
    http2: bool = False
    http2_max_concurrent_streams: int = 128
    http2_body_preread_size: int = 256 * 1024
    """Bytes of a body that a client may send before the request is worked on; nginx's default is 64 KB."""
    client_header_timeout: float = 60.0
    client_header_buffer_size: int = 1024
    large_client_header_buffers: tuple[int, int] = (4, 8192)
    max_headers: int = 1000
    ignore_invalid_headers: bool = True
    underscores_in_headers: bool = False
    merge_slashes: bool = True
    place: SourceLine = SourceLine()


@dataclass(frozen=True)
class Main:
    """The main and events contexts."""

    worker_processes: int = 1
    worker_connections: int = 512
    worker_shutdown_timeout: float = 0.0
    user: str = ""
    group: str = ""
    pid: str = ""
    """The path of the pid file; "" if the configuration names none, and then the command chooses one."""
    daemon: bool = True
    error_log: tuple[tuple[str, str], ...] = ()
    """(path, `stderr` or `syslog:…`, level)."""
    env: tuple[str, ...] = ()
    working_directory: str = ""
    watch: bool = False
    """True if the main process reloads when a file of the configuration changes (`wsgi_proxy_watch`)."""


@dataclass(frozen=True)
class Cluster:
    """`wsgi_proxy_cluster address name= timeout=`: the Redis with the state that machines share. `timeout` is in seconds."""

    address: str
    name: str = "default"
    timeout: float = 0.02
    place: SourceLine = SourceLine()


@dataclass(frozen=True)
class OtelExporter:
    """ngx_otel_module: the collector that spans are sent to."""

    endpoint: str
    """`host:port` or `http(s)://host:port` for OTLP/gRPC; a URL with a path for OTLP/HTTP."""
    interval: float = 5.0
    batch_size: int = 512
    batch_count: int = 4
    headers: tuple[tuple[str, str], ...] = ()
    trusted_certificate: str = ""
    service_name: str = "unknown_service:nginx"
    resource: tuple[tuple[str, str], ...] = ()
    """Attributes of the resource: (name, value)."""
    attributes: tuple[SpanAttribute, ...] = ()
    """The attributes that every span has."""


@dataclass(frozen=True)
class KeyvalZone:
    """`keyval_zone zone=name:size timeout= type= state= sync`. `timeout` is in seconds; 0 keeps pairs forever."""

    name: str
    size: int
    timeout: float = 0.0
    kind: str = "string"
    """`string`, `ip` or `prefix`."""
    state: str = ""
    """The file of the pairs, relative to the prefix; empty for none."""
    sync: bool = False
    """Shared by all machines of the cluster."""
    place: SourceLine = SourceLine()


@dataclass(frozen=True)
class Config:
    """A whole configuration, checked."""

    path: str = ""
    prefix: str = ""
    main: Main = Main()
    servers: tuple[ServerBlock, ...] = ()
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)
    cache_zones: Mapping[str, CacheZone] = field(default_factory=dict)
    limit_req_zones: Mapping[str, LimitReqZone] = field(default_factory=dict)
    limit_conn_zones: Mapping[str, LimitConnZone] = field(default_factory=dict)
    keyval_zones: Mapping[str, KeyvalZone] = field(default_factory=dict)
    keyvals: tuple[Any, ...] = ()
    """The variables of `keyval`, which get their zones when the proxy is made (`keyval.Keyval`)."""
    matches: Mapping[str, Match] = field(default_factory=dict)
    cluster: Cluster | None = None
    otel: OtelExporter | None = None
    core: CoreSettings = CoreSettings()
    warnings: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    """(path, text) of every file read, for `-T`."""
    includes: tuple[str, ...] = ()
    """The absolute patterns of the `include` directives with wildcards."""
