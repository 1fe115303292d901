"""Proxy-Status of responses and failures, read by a parser of structured fields that is not ours."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Any

import http_sf
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from tests.support import Recorded, Recorder, Response, Wire, fetch, free_port, reply, run_proxy
from tests.support.directive import faults, location
from wsgi_proxy.config import ProxyStatus
from wsgi_proxy.filters.proxy_status import bare_item


def answers(request: Recorded, wire: Wire) -> bytes | None:
    """Answer as the target says."""
    path = request.target.partition("?")[0].rpartition("/")[2]
    if path == "closed":
        wire.close()
        return None
    if path == "silent":
        wire.recv()
        return None
    if path == "coding":
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"
    if path == "big":
        return b"HTTP/1.1 200 OK\r\nA: " + b"x" * 1000000 + b"\r\nContent-Length: 0\r\n\r\n"
    if path == "chain":
        return reply(b"ok", 200, [("Proxy-Status", 'origin; error=dns_error; details="a, b"')])
    return {"wrong": b"nonsense\r\n\r\n", "failed": reply(b"no", 500)}.get(path) or reply(b"ok")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Recorder]]:
    folder = tmp_path_factory.mktemp("status")
    port, refused, unknown_ca = free_port(), free_port(), free_port()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    trustme.CA().cert_pem.write_to_path(str(folder / "ca.pem"))
    (folder / "file").write_text("file")
    with Recorder(answers) as upstream, Recorder(answers, tls=context) as tls, socket.create_server(("127.0.0.1", unknown_ca)):
        text = f"""events {{}} http {{
            access_log off; proxy_read_timeout 500ms; proxy_next_upstream off; root {folder};
            limit_req_zone $arg_key zone=one:1m rate=1r/m;
            upstream gone {{ server 127.0.0.1:{refused} down; }}
            proxy_cache_path memory keys_zone=pages:1m;
            server {{ listen 127.0.0.1:{port}; proxy_status_header on;
                location / {{ proxy_pass http://{upstream.address}; }}
                location /told/ {{ proxy_status_header on name=edge.1 next_hop; proxy_pass http://{upstream.address}; }}
                location /quiet/ {{ proxy_status_header off; proxy_pass http://{upstream.address}; }}
                location /refused {{ proxy_pass http://127.0.0.1:{refused}; }}
                location /told/refused {{ proxy_status_header on next_hop; proxy_pass http://127.0.0.1:{refused}; }}
                location /gone {{ proxy_pass http://gone; }}
                location /name {{ resolver 127.0.0.1:{refused}; set $to unknown.invalid; proxy_pass http://$to; }}
                location /untrusted {{ proxy_pass https://{tls.address}; proxy_ssl_verify on;
                    proxy_ssl_trusted_certificate {folder}/ca.pem; proxy_ssl_name localhost; }}
                location /plain {{ proxy_pass https://127.0.0.1:{port}; proxy_ssl_verify off; }}
                location /handshake {{ proxy_pass https://127.0.0.1:{unknown_ca}; proxy_connect_timeout 500ms; }}
                location /denied {{ deny all; proxy_pass http://{upstream.address}; }}
                location /limited {{ limit_req zone=one; proxy_pass http://{upstream.address}; }}
                location /large {{ client_max_body_size 1; proxy_pass http://{upstream.address}; }}
                location /file {{ }}
                location /intercepted {{ proxy_pass http://{upstream.address}/failed; proxy_intercept_errors on;
                    error_page 500 /file; }}
                location /elsewhere {{ proxy_pass http://127.0.0.1:{refused}; error_page 502 = @other; }}
                location @other {{ proxy_pass http://{upstream.address}; }}
                location /cached {{ proxy_cache pages; proxy_cache_valid 1m; proxy_pass http://{upstream.address}; }}
            }} }}"""
        with run_proxy(text, folder):
            yield port, upstream


def members(response: Response) -> list[tuple[Any, dict[str, Any]]]:
    """Return (name, parameters) of each member of the field, as text and numbers; [] without the field."""
    lines = response.get_all("Proxy-Status")
    found = http_sf.parse(", ".join(lines).encode(), tltype="list") if lines else []
    return [
        (str(name), {key: value if isinstance(value, int) else str(value) for key, value in more.items()}) for name, more in found
    ]


@pytest.mark.parametrize(
    ("target", "status", "error"),
    [
        ("/silent", 504, "connection_read_timeout"),
        ("/closed", 502, "connection_terminated"),
        ("/wrong", 502, "http_protocol_error"),
        ("/coding", 502, "http_response_transfer_coding"),
        ("/big", 502, "http_response_header_section_size"),
        ("/refused", 502, "connection_refused"),
        ("/gone", 502, "destination_unavailable"),
        ("/name", 502, "dns_error"),
        ("/untrusted", 502, "tls_certificate_error"),
        ("/plain", 502, "tls_protocol_error"),
        ("/handshake", 504, "connection_timeout"),
        ("/denied", 403, "http_request_denied"),
    ],
)
def test_a_failure_has_its_error_type(target: str, status: int, error: str, place: tuple[int, Recorder]) -> None:
    response = fetch(place[0], target, timeout=60)
    assert (response.status, members(response)) == (status, [("wsgi_proxy", {"error": error})])


def test_requests_that_are_refused(place: tuple[int, Recorder]) -> None:
    assert members(fetch(place[0], "/limited?key=a")) == [("wsgi_proxy", {"received-status": 200})]
    response = fetch(place[0], "/limited?key=a")
    assert (response.status, members(response)) == (503, [("wsgi_proxy", {"error": "http_request_denied"})])
    response = fetch(place[0], "/large", method="POST", body=b"abc")
    assert (response.status, members(response)) == (413, [("wsgi_proxy", {"error": "http_request_error"})])


def test_a_forwarded_response_has_the_status_that_was_received(place: tuple[int, Recorder]) -> None:
    port, _ = place
    assert members(fetch(port, "/")) == members(fetch(port, "/", method="HEAD")) == [("wsgi_proxy", {"received-status": 200})]
    assert members(fetch(port, "/failed")) == [("wsgi_proxy", {"received-status": 500})]
    response = fetch(port, "/intercepted")
    assert (response.text, members(response)) == ("file", [("wsgi_proxy", {"received-status": 500})])
    response = fetch(port, "/elsewhere")
    assert (response.status, members(response)) == (200, [("wsgi_proxy", {"received-status": 200})])


def test_the_member_follows_those_of_the_upstream(place: tuple[int, Recorder]) -> None:
    origin = ("origin", {"error": "dns_error", "details": "a, b"})
    assert members(fetch(place[0], "/chain")) == [origin, ("wsgi_proxy", {"received-status": 200})]


def test_a_response_of_this_server_has_no_field(place: tuple[int, Recorder]) -> None:
    port, _ = place
    assert fetch(port, "/file").text == "file"
    for target in ("/file", "/file/none", "/quiet/", "/quiet/closed"):
        assert members(fetch(port, target)) == []
    assert members(fetch(port, "/cached")) == [("wsgi_proxy", {"received-status": 200})]
    assert members(fetch(port, "/cached")) == []


def test_addresses_are_told_on_demand_alone(place: tuple[int, Recorder]) -> None:
    port, upstream = place
    assert members(fetch(port, "/told/")) == [("edge.1", {"received-status": 200, "next-hop": upstream.address})]
    ((name, told),) = members(fetch(port, "/told/refused"))
    assert (name, told["error"]) == ("wsgi_proxy", "connection_refused") and told["next-hop"].startswith("127.0.0.1:")
    for target in ("/", "/refused", "/closed"):
        assert "127.0.0.1" not in str(fetch(port, target).get_all("Proxy-Status"))


@given(st.text())
def test_an_item_is_a_token_or_a_string(text: str) -> None:
    shown = "".join(char if " " <= char <= "~" else "?" for char in text)
    ((item, parameters),) = http_sf.parse(bare_item(text).encode(), tltype="list")
    assert str(item) == shown and parameters == {}


def test_the_directive() -> None:
    assert location("").core.proxy_status is None
    assert location("proxy_status_header off;", "proxy_status_header on;").core.proxy_status is None
    assert location("", "proxy_status_header on;").core.proxy_status == ProxyStatus("wsgi_proxy", False)
    assert location("proxy_status_header on 'name=a \"b' next_hop;").core.proxy_status == ProxyStatus('a "b', True)
    message = 'invalid value "x" in "proxy_status_header" directive, it must be "on" or "off"'
    assert faults("proxy_status_header x; server { }") == [message]
    assert faults("proxy_status_header on hop; server { }") == ['invalid parameter "hop"']
