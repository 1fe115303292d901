"""The configuration reference: every directive is described, every example loads, every default is the model's."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.tls import Files
from wsgi_proxy.config import (
    TLS,
    AdditionSettings,
    BrotliSettings,
    CacheSettings,
    CharsetSettings,
    CoreSettings,
    DavSettings,
    GatewaySettings,
    GuardSettings,
    GzipSettings,
    Main,
    OtelExporter,
    ProxySettings,
    Server,
    ServerBlock,
    SSISettings,
    SubSettings,
    TunnelSettings,
    Upstream,
    UpstreamTLS,
    UserIDSettings,
)
from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.nginx.directives import SUBJECTS, TABLE
from wsgi_proxy.nginx.directives.reading import Reading
from wsgi_proxy.nginx.directives.reference import Entry, load
from wsgi_proxy.nginx.directives.row import Level, Row, Statement

ENTRIES = load()
ROWS = {(subject, row.name): row for subject, rows in SUBJECTS.items() for row in rows if not row.note and not row.like}
PRELUDE = """
    proxy_cache_path memory keys_zone=pages:10m;
    limit_req_zone $binary_remote_addr zone=flood:1m rate=10r/s;
    limit_conn_zone $binary_remote_addr zone=per_address:1m;
    match welcome { status 200; }
"""
EXPORTER = "otel_exporter { endpoint localhost:4317; }"
AROUND = {
    "main": "events {} %s",
    "http": f"events {{}} http {{ {PRELUDE} %s }}",
    "server": f"events {{}} http {{ {PRELUDE} server {{ %s }} }}",
    "location": f"events {{}} http {{ {PRELUDE} server {{ location / {{ %s }} }} }}",
    "upstream": f"events {{}} http {{ {PRELUDE} upstream u {{ server 127.0.0.1:3000; %s }} }}",
    "events": "events { %s }",
}
ALONE = {"events", "http"}
"""Blocks of which a file has one."""
BESIDE = {
    "keyval": "keyval_zone zone=blocked:1m;",
    "health_check": "proxy_pass http://127.0.0.1:3000;",
    "listen": "ssl_certificate /etc/wsgi-proxy/www.example.org.crt; ssl_certificate_key /etc/wsgi-proxy/www.example.org.key;",
    "queue": "least_conn;",
    "proxy_busy_buffers_size": "proxy_buffers 8 16k;",
    "ssl_certificate": "ssl_certificate_key /etc/wsgi-proxy/www.example.org.key;",
    "ssl_certificate_key": "ssl_certificate /etc/wsgi-proxy/www.example.org.crt;",
}


def test_every_directive_with_an_effect_is_described() -> None:
    assert sorted(ENTRIES) == sorted(ROWS)


def source(row: Row, entry: Entry) -> str:
    """Return a configuration with the entry's example in the first block where it is allowed."""
    if row.name in ALONE:
        return entry.example if row.name == "events" else f"events {{}} {entry.example}"
    context = row.contexts.split(", ")[0]
    if context == "http" and {"server", "location"} <= row.places:
        context = "location"
    around = AROUND[context]
    if row.name == "otel_trace":
        around = around.replace(PRELUDE, PRELUDE + EXPORTER)
    return around % f"{BESIDE.get(row.name, '')} {entry.example}"


@pytest.fixture(scope="module")
def etc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the examples name."""
    folder = tmp_path_factory.mktemp("reference")
    files = Files(folder)
    for name in ("www.example.org", "client"):
        files.pair(name)
    files.crl(str(folder / "client.crt"))
    for name in ("htpasswd", "passwords", "dhparam.pem"):
        (folder / name).write_text("")
    return folder


@pytest.mark.parametrize("key", ROWS, ids=" ".join)
def test_the_example_loads(key: tuple[str, str], etc: Path) -> None:
    entry = ENTRIES[key]
    assert entry.example.split()[0].rstrip(";") == entry.name
    config = nginx.loads(source(ROWS[key], entry).replace("/etc/wsgi-proxy", str(etc)), path=str(etc / "nginx.conf"))
    assert not [warning for warning in config.warnings if "has no effect" in warning and "proxy_cache_bypass" not in warning]


# --- defaults ---------------------------------------------------------------------------------------------------------------

GROUPS: dict[str, Any] = {
    "main": Main(),
    "core": CoreSettings(),
    "proxy": ProxySettings(),
    "proxy_tls": UpstreamTLS(),
    "cache": CacheSettings(),
    "fastcgi": ProxySettings(),
    "fastcgi_own": GatewaySettings(),
    "uwsgi": ProxySettings(),
    "uwsgi_own": GatewaySettings("uwsgi"),
    "scgi": ProxySettings(),
    "scgi_own": GatewaySettings("scgi"),
    "guard": GuardSettings(),
    "tunnel": TunnelSettings(),
    "gzip": GzipSettings(),
    "brotli": BrotliSettings(),
    "charset": CharsetSettings(),
    "userid": UserIDSettings(),
    "sub": SubSettings(),
    "ssi": SSISettings(),
    "addition": AdditionSettings(),
    "dav": DavSettings(),
    "tls": TLS(),
    "server": ServerBlock(),
    "upstream": Upstream("u", ()),
    "otel": OtelExporter("localhost:4317"),
}
ELSEWHERE = {
    "access_log": "freezing: the log under the prefix, if its directory exists",
    "error_log": "the server's own log, opened by wsgi_proxy.server.application",
    "pid": "freezing: under the prefix",
    "index": "None stands for index.html",
    "root": "None stands for html",
    "types": "freezing",
    "listen": "depends on the user",
    "ssl": "addresses: it sets `ssl` of listeners",
    "server_name": 'the name ""',
    "proxy_cache_convert_head": "None stands for on",
    "proxy_redirect": "None stands for default",
    "proxy_set_header": "None stands for the Host of proxy_pass",
    "tunnel_pass": "the argument's default, not the directive's",
    "wsgi_proxy_status": "the argument's default, not the directive's",
    "health_check": "the parameters' defaults",
    "wsgi_proxy_cluster": "the parameters' defaults",
    "add_header_inherit": "inheritance",
    "add_trailer_inherit": "inheritance",
}
"""Defaults that no field of the model holds, with the reason of each."""
UNSET: tuple[Any, ...] = (None, (), "", 0, False, frozenset())


def converted(row: Row, default: str) -> Any:
    """Return the value that a directive sets if it is written with its default."""
    context = row.contexts.split(", ")[0]
    reading = Reading(TABLE, "/nginx.conf", "/", lambda name: False)
    level = Level(context, reading, Level("main", reading))
    row.act(level, Statement(row.name, default.split(), "/nginx.conf", 1))
    return level.own[row.target]


@pytest.mark.parametrize("key", [key for key in ROWS if ENTRIES[key].default and key[1] not in ELSEWHERE], ids=" ".join)
def test_the_default_is_that_of_the_model(key: tuple[str, str]) -> None:
    row, default = ROWS[key], ENTRIES[key].default
    assert default is not None
    group, _, field = row.target.partition(".")
    mine, found = getattr(GROUPS[group], field), converted(row, default)
    text = getattr(found, "constant", None)
    assert mine == found or (mine in UNSET and (found in UNSET or text in ("off", "0")))


@pytest.mark.parametrize("key", [key for key in ROWS if ENTRIES[key].default is None], ids=" ".join)
def test_a_directive_without_a_default_is_unset_in_the_model(key: tuple[str, str]) -> None:
    group, _, field = ROWS[key].target.partition(".")
    if group in GROUPS and field in {item.name for item in dataclasses.fields(GROUPS[group])}:
        mine = getattr(GROUPS[group], field)
        assert mine in UNSET or field == "policy"


def test_the_parameters_of_a_server_have_the_defaults_that_are_told() -> None:
    text = ENTRIES["Upstreams", "server"].text
    server = Server("127.0.0.1")
    for name, shown in (("weight=number", "1"), ("max_fails=number", "1"), ("max_conns=number", "0"), ("slow_start=time", "0")):
        assert f"`{name}` ({shown}" in text and getattr(server, name.partition("=")[0]) == float(shown)
    assert "`fail_timeout=time` (10s)" in text and server.fail_timeout == 10.0
    parameters = {field.name for field in dataclasses.fields(Server)} - {"address", "place"}
    assert all(f"`{name}" in text for name in parameters)


def test_the_page_has_no_macro_of_nginx() -> None:
    from wsgi_proxy.nginx.directives.__main__ import document

    page = document()
    for word in ("TAKE", "FLAG", "1MORE", "NOARGS", "BLOCK"):
        assert word not in page
    assert sys.getsizeof(page) > 50_000
