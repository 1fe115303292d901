"""The arguments of the Python API: each check, and wrong values for every argument."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import free_port
from wsgi_proxy import ConfigError, HealthCheck, Pool, ProxyMiddleware, Server
from wsgi_proxy.config import Policy, Sticky, arguments
from wsgi_proxy.wsgi.python_config import config_for_targets

TARGET = "http://127.0.0.1:9"


def mine(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"mine"]


def mapping(**options: Any) -> Callable[[], object]:
    return lambda: ProxyMiddleware(mine, {"/x/": {"target": TARGET, **options}})  # type: ignore[typeddict-item]


def server(**options: Any) -> Callable[[], object]:
    return lambda: Pool([Server(**{"address": TARGET, **options})])


def pool(**options: Any) -> Callable[[], object]:
    return lambda: Pool(**{"servers": [TARGET], **options})


def middleware(*given: Any, **options: Any) -> Callable[[], object]:
    return lambda: ProxyMiddleware(*given, **options)


def check(**options: Any) -> Callable[[], object]:
    return lambda: HealthCheck(**options)


WRONG: list[tuple[str, Callable[[], object]]] = [
    ("timeout", middleware(mine, {"/": TARGET}, timeout="10")),
    ("timeout", middleware(mine, {"/": TARGET}, timeout=0)),
    ("timeout", middleware(mine, {"/": TARGET}, timeout=-1)),
    ("timeout", middleware(mine, {"/": TARGET}, timeout=float("nan"))),
    ("timeout", middleware(mine, {"/": TARGET}, timeout=float("inf"))),
    ("timeout", middleware(mine, {"/": TARGET}, timeout=None)),
    ("timeout", middleware(mine, {"/": TARGET}, timeout=True)),
    ("chunk_size", middleware(mine, {"/": TARGET}, chunk_size=0)),
    ("app", middleware(None, {"/": TARGET})),
    ("targets", middleware(mine, None)),
    ("targets", middleware(mine, [("/", TARGET)])),
    ("prefix", middleware(mine, {5: TARGET})),
    ("prefix", middleware(mine, {"/a/../b": TARGET})),
    ("prefix", middleware(mine, {"/a\n": TARGET})),
    ("'a'.*twice", middleware(mine, {"/a": TARGET, "a": TARGET})),
    ("'/a'", middleware(mine, {"/a": 5})),
    ("no target", middleware(mine, {"/a": {}})),
    ("'/x/'.*'hots'", mapping(hots="x")),
    *(
        ("'/x/': target", mapping(target=target))
        for target in (
            5,
            "",
            "127.0.0.1:9",
            "ftp://h",
            "http://",
            "http:///x",
            "http://h:x",
            "http://h:0",
            "http://h:99999",
            "http://a b/",
            "http://127.0.0.1:9/a b",
            "http://127.0.0.1:9/€",
            "http://127.0.0.1:9/\r\nX: y",
            "http://127.0.0.1:9/\t",
            "http://[::g]/",
            "http://h/?a=b",
            "http://h/#f",
            "http://h?",
            b"http://h",
            " http://h",
            "http://" + "a" * 70,
            "http://h\\x",
            "http://a/\udcff",
        )
    ),
    ("remove_prefix", mapping(remove_prefix="no")),
    ("remove_prefix", mapping(remove_prefix=1)),
    *(("'/x/': host", mapping(host=host)) for host in (5, "", "a b", "a/b", "a\r\nX: y", "u@h", "€", "$host", b"h")),
    ("headers", mapping(headers=[("A", "b")])),
    ("headers", mapping(headers={"A b": "c"})),
    ("headers", mapping(headers={"": "c"})),
    ("headers", mapping(headers={"A:": "c"})),
    ("headers", mapping(headers={5: "c"})),
    *(
        (r"headers\['A'\]", mapping(headers={"A": value}))
        for value in (5, None, b"x", "a\r\nB: c", "a\n", "\0", "$host", "\udcff")
    ),
    (r"headers\['a'\].*twice", mapping(headers={"A": "b", "a": "c"})),
    (r"headers\['Content-Length'\]", mapping(headers={"Content-Length": "5"})),
    (r"headers\['Host'\]", mapping(headers={"Host": "a b"})),
    ("host: is in headers", mapping(headers={"host": "a"}, host="b")),
    ("ssl_context", mapping(ssl_context="x")),
    ("ssl_context", mapping(ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))),
    *(
        (f"127.0.0.1:9'.*{name}", server(**{name: value}))
        for name in ("weight", "max_fails", "max_conns")
        for value in ("1", 1.5, -1, True, None, 2**31)
    ),
    ("weight", server(weight=0)),
    *(
        (f"127.0.0.1:9'.*{name}", server(**{name: value}))
        for name in ("fail_timeout", "slow_start")
        for value in ("1", -1, True, None, float("nan"), float("inf"))
    ),
    *((name, server(**{name: value})) for name in ("backup", "down", "drain", "resolve") for value in (1, "yes", None)),
    ("route", server(route=5)),
    ("place", server(place="x")),
    *(
        ("address", server(address=value))
        for value in (5, "", "a b", "a\n", "http://u:p@h", "u@h:80", "unix:" + "a" * 108, "\0", "\udcff")
    ),
    *(
        ("invalid|no host|not found|no path", server(address=value))
        for value in ("h:0", "h:x", "ftp://h", "http://h/p", ":80", "unix:", "[::g]:1")
    ),
    *(("servers", pool(servers=value)) for value in (TARGET, None, 5, b"x", [5], [None], [b"x"], Path("x"))),
    ("servers: at least one server", pool(servers=[])),
    ("no servers", pool(servers=[Server(TARGET, backup=True)])),
    *(("policy", pool(policy=value)) for value in ("nope", "", "no.such:thing", "hash", 5, None, [])),
    ("policy: name", lambda: Policy(5)),  # type: ignore[arg-type]
    ("policy: key", lambda: Policy("hash", key="x")),  # type: ignore[arg-type]
    ("policy: options", lambda: Policy("random", options="two")),  # type: ignore[arg-type]
    ("policy: options", lambda: Policy("random", options=(5,))),  # type: ignore[arg-type]
    ("policy: options", pool(policy=Policy("random", options=("zwei",)))),
    ("policy: options", pool(policy=Policy("least_conn", options=("two",)))),
    ("sticky: cookie", lambda: Sticky("a b")),
    ("sticky: expires", lambda: Sticky("a", expires="1h")),  # type: ignore[arg-type]
    ("sticky: path", lambda: Sticky("a", path="/\r\nX: y")),
    ("name", pool(name=5)),
    ("name", pool(name="a\n")),
    *(("queue", pool(queue=value)) for value in ("1", -1, 1.5, True)),
    *(("queue_timeout", pool(queue_timeout=value)) for value in ("1", -1, True)),
    ("shared_turns", pool(shared_turns=1)),
    ("sticky", pool(sticky="x")),
    ("health_check", pool(health_check=5)),
    ("match", pool(health_check=HealthCheck(match="x"))),
    *(
        ("verify", pool(servers=["https://127.0.0.1:9"], verify=value))
        for value in (5, None, "/no/such/file", "/etc/hostname", b"x", "a\0")
    ),
    ("ssl_context", pool(ssl_context=5)),
    ("verify", pool(verify=False, ssl_context=ssl.create_default_context())),
    *(
        (name, check(**{name: value}))
        for name in ("interval", "jitter", "keepalive_time")
        for value in ("1", -1, None, float("nan"))
    ),
    ("interval", check(interval=0)),
    *((name, check(**{name: value})) for name in ("fails", "passes") for value in ("1", 0, 1.5, None)),
    *(("port", check(port=value)) for value in ("1", -1, 65536)),
    *(("uri", check(uri=value)) for value in ("", "x", "/a b", "/€", "/\r\nX: y", 5)),
    ("match", check(match=5)),
    ("mandatory", check(mandatory=1)),
    ("check", check(check="my.check")),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_a_wrong_value_is_a_fault_that_names_its_argument(number: int) -> None:
    names, make = WRONG[number]
    with pytest.raises(ConfigError, match=names) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_no_password_is_repeated_in_a_fault() -> None:
    for make in (
        mapping(target="ftp://me:secret@h/"),
        server(address="http://me:secret@h"),
        mapping(target="http://me:secret@h/€"),
    ):
        with pytest.raises(ConfigError) as caught:
            make()
        assert "secret" not in str(caught.value)


def test_judges_give_the_value_back() -> None:
    assert (arguments.count(3, "n"), arguments.seconds(1.5, "t"), arguments.flag(False, "f")) == (3, 1.5, False)
    assert arguments.address("unix:/a", "a") == "unix:/a" and arguments.token("X-A", "t") == "X-A"
    context = ssl.create_default_context()
    assert arguments.client_context(True, context) is context
    assert arguments.client_context(True, None).verify_mode == ssl.CERT_REQUIRED
    assert arguments.client_context(False, None).verify_mode == ssl.CERT_NONE


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=5),
    st.just([]),
    st.just({}),
    st.dictionaries(st.text(max_size=8), st.one_of(st.text(max_size=8), st.integers()), max_size=3),
    st.sampled_from(
        ["/", "http://127.0.0.1:9", "http://127.0.0.1:9/\u20ac", "<auto>", "https://127.0.0.1", "unix:/x", "a:1", b"", ...]
    ),
)
OPTIONS = st.dictionaries(
    st.one_of(st.sampled_from(["target", "remove_prefix", "host", "headers", "ssl_context"]), st.text(max_size=5)),
    ANYTHING,
    max_size=4,
)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.one_of(st.text(max_size=6), st.integers()), st.one_of(OPTIONS, ANYTHING), max_size=2), ANYTHING)
def test_a_mapping_is_a_configuration_or_one_fault(targets: Any, timeout: Any) -> None:
    try:
        made = config_for_targets(targets, timeout)
    except ConfigError as error:
        assert str(error) and all("\n" not in str(fault) for fault in error.faults)
        return
    # Accepted values can be sent: none breaks a line or has a character beyond latin-1.
    for location in made.servers[0].locations:
        for _, value in location.proxy.set_header or ():
            constant = getattr(value, "constant", None) or ""
            constant.encode("latin-1")
            assert not any(ord(char) < 0x20 for char in constant)


_SERVER = "weight max_fails fail_timeout max_conns slow_start backup down drain route place".split()
SERVER = st.fixed_dictionaries({}, optional=dict.fromkeys(_SERVER, ANYTHING))
POOL = st.fixed_dictionaries({}, optional=dict.fromkeys("policy name queue queue_timeout sticky verify".split(), ANYTHING))


@settings(max_examples=150, deadline=None)
@given(SERVER, POOL)
def test_a_pool_is_made_or_one_fault(each: dict[str, Any], options: dict[str, Any]) -> None:
    try:
        Pool([Server(TARGET, **each)], **options)
    except ConfigError as error:
        assert str(error)


def test_a_good_mapping_is_taken() -> None:
    port = free_port()
    made = config_for_targets(
        {"/a": f"http://127.0.0.1:{port}", "/b": {"target": f"http://localhost:{port}/x/", "headers": None}}, 1.5
    )
    assert [location.pattern for location in made.servers[0].locations] == ["/a/", "/b/"]
