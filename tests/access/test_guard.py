"""The guard: its checks, their order and its refusals. The phases are compared with real nginx."""

from __future__ import annotations

import base64
import io
import logging
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import fetch, free_port, run_nginx
from tests.support.limits import PrivateMemory, argument, exchange, text
from wsgi_proxy.access.guard import Guard
from wsgi_proxy.config import (
    TLS,
    Access,
    Config,
    CoreSettings,
    GuardSettings,
    LimitConn,
    LimitConnZone,
    LimitReq,
    LimitReqZone,
    Location,
    ServerBlock,
)
from wsgi_proxy.errors import ClientError, ProxyError, Refusal
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.proxy.subrequests.request import Subresponse
from wsgi_proxy.response import Response

CONFIG = Config(
    limit_req_zones={"r": LimitReqZone("r", argument("r"), 32768, 1)},
    limit_conn_zones={"c": LimitConnZone("c", argument("c"), 32768)},
)
DENY = Access(False, "all")
ALLOW_ONE = (Access(True, ip_network("192.0.2.1")), DENY)


def guard() -> Guard:
    return Guard(CONFIG, PrivateMemory())


def at(settings: GuardSettings, x: Exchange | None = None, core: CoreSettings | None = None, **attributes: Any) -> Exchange:
    """An exchange routed to a place with these settings."""
    x = x or exchange(**attributes)
    x.location = Location(guard=settings, core=core or CoreSettings())
    x.server = ServerBlock()
    return x


def admit(guard: Guard, x: Exchange) -> None:
    guard.admit(x, guard.plan(x.location.guard))


def enter(guard: Guard, x: Exchange) -> None:
    guard.enter(x, guard.plan(x.server.settings.guard))


def status_of(guard: Guard, x: Exchange) -> int:
    try:
        admit(guard, x)
    except ProxyError as error:
        return error.status
    return 0


def test_a_place_that_asks_nothing() -> None:
    assert status_of(guard(), at(GuardSettings())) == 0


def test_internal_places() -> None:
    settings = GuardSettings(internal=True, access=(DENY,))
    assert status_of(guard(), at(settings)) == 404
    assert status_of(guard(), at(settings, internal=True)) == 403
    assert status_of(guard(), at(settings, internal=True, subrequest=True)) == 0


def test_limit_req_comes_first_then_limit_conn_then_access() -> None:
    g = guard()
    settings = GuardSettings(
        limit_req=(LimitReq("r"),), limit_req_status=430, limit_conn=(LimitConn("c", 1),), limit_conn_status=431, access=(DENY,)
    )
    assert status_of(g, at(settings, target="/?r=a&c=a")) == 403
    assert status_of(g, at(settings, target="/?r=a&c=a")) == 430
    assert status_of(g, at(settings, target="/?r=b&c=a")) == 431


def test_leases_of_a_refused_request_are_released_with_it() -> None:
    g = guard()
    settings = GuardSettings(limit_conn=(LimitConn("c", 1),), access=(DENY,))
    x = at(settings, target="/?c=a")
    assert status_of(g, x) == 403
    assert x.leases
    for lease in x.leases:
        lease.close()
    assert status_of(g, at(GuardSettings(limit_conn=(LimitConn("c", 1),)), target="/?c=a")) == 0


def basic(password: str = "secret") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"alice:{password}".encode()).decode()}


@pytest.mark.parametrize("satisfy", ["all", "any"])
@pytest.mark.parametrize("address", ["192.0.2.1", "192.0.2.2"])
@pytest.mark.parametrize("headers", [basic(), basic("wrong"), {}])
@pytest.mark.parametrize("request_status", [0, 204, 401, 403])
def test_satisfy(tmp_path: Path, satisfy: str, address: str, headers: dict[str, str], request_status: int) -> None:
    (tmp_path / "htpasswd").write_text("alice:{PLAIN}secret\n")
    g = Guard(Config(prefix=str(tmp_path)), PrivateMemory())
    g.subrequest = lambda x, uri: Subresponse(x, Response(request_status, [("WWW-Authenticate", "Bearer")]))
    settings = GuardSettings(
        access=ALLOW_ONE,
        auth_basic=text("r"),
        auth_basic_user_file=text("htpasswd"),
        satisfy_any=satisfy == "any",
        auth_request="/auth" if request_status else "",
    )
    results = [
        0 if address == "192.0.2.1" else 403,
        0 if headers == basic() else 401,
        *([0 if request_status == 204 else request_status] if request_status else []),
    ]
    if satisfy == "all":
        expected = next((status for status in results if status), 0)
    else:
        expected = 0 if 0 in results else 401
    assert status_of(g, at(settings, headers=headers, remote_addr=address)) == expected


def test_any_with_nothing_but_denials_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "wsgi_proxy"):
        assert status_of(guard(), at(GuardSettings(access=(DENY,), satisfy_any=True))) == 403
    assert [record.getMessage().split(",")[0] for record in caplog.records] == ["access forbidden by rule"]


def test_any_keeps_the_first_challenge(tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_text("")
    g = Guard(Config(prefix=str(tmp_path)), PrivateMemory())
    g.subrequest = lambda x, uri: Subresponse(x, Response(403))
    settings = GuardSettings(
        access=(DENY,), auth_basic=text("r"), auth_basic_user_file=text("htpasswd"), satisfy_any=True, auth_request="/auth"
    )
    with pytest.raises(Refusal) as refusal:
        admit(g, at(settings))
    assert (refusal.value.status, refusal.value.headers) == (401, [("WWW-Authenticate", 'Basic realm="r"')])


def test_limit_except() -> None:
    g = guard()
    settings = GuardSettings(limit_except=(frozenset({"GET"}), GuardSettings(access=(DENY,))))
    assert [status_of(g, at(settings, method=method)) for method in ("GET", "HEAD", "POST", "PUT")] == [0, 0, 403, 403]
    settings = GuardSettings(access=(DENY,), limit_except=(frozenset({"POST"}), GuardSettings(access=ALLOW_ONE)))
    assert [status_of(g, at(settings, method=method)) for method in ("GET", "HEAD", "POST")] == [0, 0, 403]


def test_real_ip_of_the_server_and_of_the_location() -> None:
    g = guard()
    settings = GuardSettings(real_ip_from=(ip_network("10.0.0.0/8"),), access=ALLOW_ONE)
    x = at(settings, headers={"X-Real-IP": "192.0.2.1"}, peer_addr="10.0.0.1", remote_addr="10.0.0.1")
    assert status_of(g, x) == 0
    assert x.remote_addr == "192.0.2.1"
    x = exchange(headers={"X-Real-IP": "192.0.2.9"}, peer_addr="10.0.0.1", remote_addr="10.0.0.1")
    x.server = ServerBlock(settings=Location(guard=settings))
    enter(g, x)
    assert (x.remote_addr, x.trusted_peer) == ("192.0.2.9", True)
    x.server = ServerBlock()
    enter(g, x)


def test_what_the_connection_allows_comes_first() -> None:
    connection = SimpleNamespace(tls=None, plain_on_tls=True)
    x = exchange(connection=connection, server=ServerBlock(tls=TLS()))
    with pytest.raises(Refusal) as refusal:
        enter(guard(), x)
    assert refusal.value.status == 497
    enter(guard(), exchange(connection=connection, server=ServerBlock()))


def test_connect_only_where_a_tunnel_is() -> None:
    g = guard()
    assert status_of(g, exchange("CONNECT", "a.test:443", location=Location())) == 405
    assert status_of(g, exchange("CONNECT", "a.test:443", location=Location(handler="tunnel_pass"))) == 0


# --- the body's size --------------------------------------------------------------------------------------------------------


def test_a_body_that_says_it_is_too_long(caplog: pytest.LogCaptureFixture) -> None:
    g = guard()
    core = CoreSettings(client_max_body_size=10)
    with caplog.at_level(logging.ERROR, "wsgi_proxy"):
        assert status_of(g, at(GuardSettings(), method="POST", headers={"Content-Length": "10"}, core=core)) == 0
        assert status_of(g, at(GuardSettings(), method="POST", headers={"Content-Length": "11"}, core=core)) == 413
    assert caplog.records[0].getMessage().startswith("client intended to send too large body: 11 bytes")
    refused = at(GuardSettings(), method="POST", headers={"Content-Length": "11"}, core=core)
    assert status_of(g, refused) == 413
    # Its error page is made for a request without a body.
    assert status_of(g, refused) == 0
    unlimited = CoreSettings(client_max_body_size=0)
    assert status_of(g, at(GuardSettings(), method="POST", headers={"Content-Length": "9" * 12}, core=unlimited)) == 0


def chunked(data: bytes, limit: int) -> Exchange:
    x = exchange("POST", headers={"Transfer-Encoding": "chunked"}, input=io.BytesIO(data))
    admit(guard(), at(GuardSettings(), x, CoreSettings(client_max_body_size=limit)))
    return x


def read_all(x: Exchange, size: int) -> bytes:
    return b"".join(iter(lambda: x.input.read(size), b""))


@pytest.mark.parametrize("size", [1, 3, 10, 11, 100])
def test_a_chunked_body_is_counted_as_it_comes(size: int, caplog: pytest.LogCaptureFixture) -> None:
    assert read_all(chunked(b"x" * 10, 10), size) == b"x" * 10
    assert read_all(chunked(b"x" * 100, 0), size) == b"x" * 100
    with caplog.at_level(logging.ERROR, "wsgi_proxy"), pytest.raises(ClientError) as error:
        read_all(chunked(b"x" * 11, 10), size)
    assert error.value.status == 413
    assert caplog.records[0].getMessage().startswith("client intended to send too large chunked body: ")


# --- the same phases in nginx -----------------------------------------------------------------------------------------------


def test_nginx_asks_in_the_same_order(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("hello")
    (tmp_path / "htpasswd").write_text("alice:{PLAIN}secret\n")
    port = free_port()
    conf = f"""events {{}} http {{ access_log off; limit_req_zone $arg_r zone=r:32k rate=1r/m; server {{ listen 127.0.0.1:{port};
        root {tmp_path}; auth_basic r; auth_basic_user_file htpasswd;
        location = /f {{ limit_req zone=r; limit_req_status 430; client_max_body_size 10; deny all; }}
        location = /any {{ satisfy any; deny all; alias {tmp_path}/f; }}
        location = /internal {{ internal; client_max_body_size 10; }} }} }}"""
    (tmp_path / "nginx").mkdir()
    (tmp_path / "nginx" / "htpasswd").write_text("alice:{PLAIN}secret\n")
    with run_nginx(conf, tmp_path):
        statuses = [
            fetch(port, "/f?r=a", "POST", body=b"x" * 11).status,
            fetch(port, "/f?r=a").status,
            fetch(port, "/f?r=a").status,
            fetch(port, "/internal", "POST", body=b"x" * 11).status,
            fetch(port, "/any").status,
            fetch(port, "/any", headers=basic().items()).status,
        ]
    g = Guard(Config(prefix=str(tmp_path), limit_req_zones={"r": LimitReqZone("r", argument("r"), 32768, 16)}), PrivateMemory())
    core = CoreSettings(client_max_body_size=10)
    auth: dict[str, Any] = {"auth_basic": text("r"), "auth_basic_user_file": text("htpasswd")}
    f = GuardSettings(limit_req=(LimitReq("r"),), limit_req_status=430, access=(DENY,), **auth)
    length = {"Content-Length": "11"}
    assert statuses == [413, 403, 430, 404, 401, 200]
    assert [
        status_of(g, at(f, target="/f?r=a", method="POST", headers=length, core=core)),
        status_of(g, at(f, target="/f?r=a")),
        status_of(g, at(f, target="/f?r=a")),
        status_of(g, at(GuardSettings(internal=True, **auth), method="POST", headers=length, core=core)),
        status_of(g, at(GuardSettings(satisfy_any=True, access=(DENY,), **auth))),
        status_of(g, at(GuardSettings(satisfy_any=True, access=(DENY,), **auth), headers=basic())) or 200,
    ] == statuses
