"""Variables in settings of a connection to an upstream, and in attributes of cookies, beside nginx: each takes effect.

`tests/nginx/test_variables.py` finds the arguments that nginx lets vary.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.support import Recorded, Recorder, Wire, free_port, reply
from tests.support.comparison import Comparison, compare_with_nginx

CONF = """
worker_processes 1; error_log stderr crit; events {}
http {
    server_tokens off; access_log off;
    upstream stuck { server 127.0.0.1:UP; sticky cookie srv domain=$arg_d samesite=$arg_s path=/$x; }
    upstream secured { server 127.0.0.1:TLS; keepalive 0; }
    server {
        listen 127.0.0.1:@PORT@; proxy_http_version 1.0;
        location /bind/ { proxy_bind $arg_b; proxy_pass http://127.0.0.1:UP; }
        location /bound/ { proxy_bind 127.0.0.7:OURS; proxy_pass http://127.0.0.1:UP; }
        location /flags/ { proxy_cookie_flags ~ $arg_f $arg_g; proxy_pass http://127.0.0.1:UP; }
        location /mixed/ { proxy_cookie_flags $arg_n secure $arg_f; proxy_pass http://127.0.0.1:UP; }
        location /sticky/ { proxy_pass http://stuck; }
        location /name/ {
            proxy_ssl_server_name on; proxy_ssl_name $arg_n; proxy_ssl_session_reuse off; proxy_pass https://secured;
        }
        location /verified/ {
            proxy_ssl_server_name on; proxy_ssl_name $arg_n; proxy_ssl_verify on; proxy_ssl_session_reuse off;
            proxy_ssl_trusted_certificate @FOLDER@/ca.pem; proxy_pass https://secured;
        }
        location /certificate/ {
            proxy_ssl_certificate @FOLDER@/$arg_c.pem; proxy_ssl_certificate_key @FOLDER@/$arg_c.key; proxy_ssl_session_reuse off;
            proxy_pass https://secured;
        }
        location /whole/ {
            proxy_ssl_certificate $arg_p; proxy_ssl_certificate_key $arg_k; proxy_ssl_session_reuse off; proxy_pass https://secured;
        }
    }
}
"""


def respond(request: Recorded, wire: Wire) -> bytes:
    """Respond with the client's address, the name that it asked for, and its certificate's name."""
    sock = wire.sock
    shown = f"{sock.getpeername()[0]}"
    if "/bound/" in request.target:
        shown = f"{sock.getpeername()}"
    if isinstance(sock, ssl.SSLSocket):
        subject = dict(part[0] for part in (sock.getpeercert() or {}).get("subject", ()))
        shown += f" {getattr(sock, 'asked', None)} {subject.get('commonName')}"
    return reply(shown.encode(), headers=[("Set-Cookie", "a=1; Path=/; HttpOnly"), ("Set-Cookie", "b=2; Secure; SameSite=None")])


def secured(authority: trustme.CA) -> ssl.SSLContext:
    """A context that asks for a certificate and notes the server name of the handshake on the socket."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("a.test", "b.test").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL

    def note(sock: ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        sock.asked = name  # type: ignore[attr-defined]

    context.sni_callback = note  # type: ignore[assignment]
    return context


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("varying")


@pytest.fixture(scope="module")
def both(folder: Path) -> Iterator[Comparison]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name in ("one", "two"):
        issued = authority.issue_cert(f"{name}.test", common_name=name)
        issued.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        for number, pem in enumerate(issued.cert_chain_pems):
            pem.write_to_path(str(folder / f"{name}.pem"), append=number > 0)
    with Recorder(respond) as up, Recorder(respond, tls=secured(authority)) as tls:
        text = CONF.replace("UP", str(up.port)).replace("TLS", str(tls.port)).replace("OURS", str(free_port()))
        with compare_with_nginx(text, folder) as both:
            yield both


@pytest.mark.parametrize("value", ["", "127.0.0.1", "127.0.0.9", "junk", "127.0.0.1:99999", "127.0.0.1:1x"])
def test_proxy_bind(both: Comparison, value: str) -> None:
    assert both.compare(f"/bind/?b={value}").body == (value.encode() if value == "127.0.0.9" else b"127.0.0.1")


def test_proxy_bind_with_a_port(both: Comparison) -> None:
    theirs, ours = both.ask("/bound/")
    assert ours.status in (200, 502)  # the port may still be waiting for the last bytes of nginx's connection
    if ours.status == theirs.status == 200:
        assert ours.body == theirs.body


@pytest.mark.parametrize("first", ["", "secure", "nosecure", "httponly", "nohttponly", "samesite=Lax", "nosamesite", "junk"])
@pytest.mark.parametrize("second", ["", "secure", "SameSite=strict"])
def test_proxy_cookie_flags(both: Comparison, first: str, second: str) -> None:
    both.compare(f"/flags/?f={first}&g={second}")


@pytest.mark.parametrize("name", ["a", "b", "c", ""])
@pytest.mark.parametrize("flag", ["httponly", "nosecure", "junk"])
def test_a_variable_beside_a_constant_flag(both: Comparison, name: str, flag: str) -> None:
    both.compare(f"/mixed/?n={name}&f={flag}")


@pytest.mark.parametrize("query", ["", "s=lax", "s=Lax", "s=foo", "s=none&d=a.b", "d=x.test"])
def test_sticky(both: Comparison, query: str) -> None:
    both.compare(f"/sticky/?{query}")


@pytest.mark.parametrize("name", ["a.test", "b.test", "c.test", "a.test:80", ""])
@pytest.mark.parametrize("place", ["name", "verified"])
def test_proxy_ssl_name(both: Comparison, place: str, name: str) -> None:
    response = both.compare(f"/{place}/?n={name}")
    if place == "verified":
        assert response.status == (200 if name[:6] in ("a.test", "b.test") else 502)


@pytest.mark.parametrize("name", ["one", "two", "one"])
def test_proxy_ssl_certificate(both: Comparison, name: str) -> None:
    assert both.compare(f"/certificate/?c={name}").body.endswith(f" {name}".encode())


def test_a_certificate_that_is_not_there(both: Comparison) -> None:
    assert both.compare("/certificate/?c=none").status == 500


@pytest.mark.parametrize("name", ["one", ""])
def test_a_certificate_by_its_whole_name(both: Comparison, folder: Path, name: str) -> None:
    paths = (folder / f"{name}.pem", folder / f"{name}.key") if name else ("", "")
    body = both.compare(f"/whole/?p={paths[0]}&k={paths[1]}").body
    assert body.endswith(f" {name or 'None'}".encode())
