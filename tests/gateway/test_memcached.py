"""memcached: the bytes of a `get`, its values as responses, and `memcached_pass` in front of a stand-in."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Response, fetch, free_port, full_nginx, parse_response, run_nginx, run_proxy, send_raw
from tests.support.gateway import head
from wsgi_proxy.config import GatewaySettings
from wsgi_proxy.errors import InvalidResponse, ProxyError
from wsgi_proxy.gateway.memcached import Memcached

CONF = """
error_log stderr crit; events {}
http {
    access_log off; types { text/html html; } default_type text/x;
    upstream cache { server 127.0.0.1:CACHE; keepalive 2; }
    server {
        listen 127.0.0.1:PORT;
        location / { set $memcached_key $uri; memcached_pass cache; memcached_gzip_flag 2; }
        location /page/ { set $memcached_key $uri; memcached_pass 127.0.0.1:CACHE; error_page 404 /fallback; }
        location /fallback { return 200 "fallback"; }
        location /unset { memcached_pass cache; }
    }
}
"""


def memcached(flag: int = 0) -> Memcached:
    return Memcached(GatewaySettings("memcached", gzip_flag=flag))


def decoded(data: bytes, size: int, flag: int = 0) -> tuple[bytes, bool, bytes]:
    """The CGI response of `data` that arrives in blocks of `size`, and `done` and `rest` of the decoder."""
    decoder = memcached(flag).decoder(None)
    assert decoder is not None
    found = b"".join(b"".join(decoder.feed(data[at : at + size])) for at in range(0, len(data), size))
    return found, decoder.done, decoder.rest


def test_a_key_is_one_word() -> None:
    assert head(memcached(), [("key", "/a b%\r\n\xe9")], None) == b"get /a%20b%25%0D%0A\xe9\r\n"
    with pytest.raises(ProxyError, match='"[$]memcached_key" variable is not set'):
        head(memcached(), [("key", "")], None)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_value_is_a_response(size: int) -> None:
    value = b"VALUE /a 2 9\r\nEND\r\n1234\r\nEND\r\n"
    assert decoded(value, size) == (b"Status: 200 OK\r\nContent-Length: 9\r\n\r\nEND\r\n1234", True, b"")
    assert b"\r\nContent-Encoding: gzip\r\n" in decoded(value, size, 2)[0]
    assert b"gzip" not in decoded(value, size, 1)[0]
    assert decoded(value[:-1], size)[1] is False
    assert decoded(b"END\r\n", size) == (b"Status: 404 Not Found\r\nContent-Length: 0\r\n\r\n", True, b"")


@pytest.mark.parametrize(
    "data",
    [b"ERROR\r\n", b"VALUE /a x 1\r\n", b"VALUE /a 0 -1\r\n", b"VALUE /a 0\r\n", b"x" * 2000],
)
def test_any_other_line_is_invalid(data: bytes) -> None:
    with pytest.raises(InvalidResponse):
        decoded(data, 1000)


def test_other_bytes_behind_a_value_end_the_connection() -> None:
    head = b"Status: 200 OK\r\nContent-Length: 1\r\n\r\n"
    assert decoded(b"VALUE /a 0 1\r\nabEND\r\n", 1000) == (head + b"a", True, b"bEND\r\n")


def serve(listener: socket.socket, asked: list[bytes]) -> None:
    """Answer as memcached does: `/a` and `/page/a` have a value, `/gz` one with the flag 2, `/bad` an error."""
    while True:
        try:
            peer, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(peer, asked), daemon=True).start()


def _answer(peer: socket.socket, asked: list[bytes]) -> None:
    with peer, peer.makefile("rb") as lines:
        for line in lines:
            asked.append(line)
            key = line.split()[1]
            if key in (b"/a", b"/page/a"):
                peer.sendall(b"VALUE %b 0 5\r\nhel" % key)
                peer.sendall(b"lo\r\nEND\r\n")
            elif key == b"/page/a.html":
                peer.sendall(b"VALUE %b 0 4\r\npage\r\nEND\r\n" % key)
            elif key == b"/tail":
                peer.sendall(b"VALUE /tail 0 4\r\nSEE-THIS\r\nEND\r\n")
            elif key == b"/gz":
                peer.sendall(b"VALUE /gz 2 3\r\nabc\r\nEND\r\n")
            else:
                peer.sendall(b"ERROR\r\n" if key == b"/bad" else b"END\r\n")


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, list[bytes]]]:
    port, asked = free_port(), list[bytes]()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener, asked), daemon=True).start()
        text = CONF.replace("PORT", str(port)).replace("CACHE", str(listener.getsockname()[1]))
        with run_proxy(text, tmp_path_factory.mktemp("memcached")):
            yield port, asked


def status_and_body(found: Response) -> tuple[int, bytes]:
    return found.status, found.body


def test_values_and_their_absence(proxy: tuple[int, list[bytes]]) -> None:
    port, asked = proxy
    assert status_and_body(fetch(port, "/a")) == (200, b"hello")
    assert asked[-1] == b"get /a\r\n"
    assert status_and_body(fetch(port, "/a", headers=[("Range", "bytes=1-2")])) == (206, b"el")
    assert fetch(port, "/gz").get("content-encoding") == "gzip"
    missing = fetch(port, "/none")
    assert missing.status == 404 and b"404 Not Found" in missing.body
    assert status_and_body(fetch(port, "/page/a")) == (200, b"hello")
    assert status_and_body(fetch(port, "/page/none")) == (404, b"fallback")
    assert [fetch(port, path).status for path in ("/bad", "/unset")] == [502, 500]


ASKED = ["/a", "/page/a.html", "/gz", "/none", "/page/none", "/bad", "/tail"]


def test_responses_are_nginxs(proxy: tuple[int, list[bytes]], tmp_path: Path) -> None:
    """A value has the media type of its URI, as a file has."""
    theirs = free_port()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener, list[bytes]()), daemon=True).start()
        text = CONF.replace("PORT", str(theirs)).replace("CACHE", str(listener.getsockname()[1]))
        with run_nginx(text, tmp_path, program=full_nginx()):
            for target in ASKED:
                ours, other = fetch(proxy[0], target), fetch(theirs, target)
                shown = [
                    (found.status, found.get("Content-Type"), found.get("Content-Encoding"), found.body)
                    if found.status == 200
                    else found.status
                    for found in (ours, other)
                ]
                assert shown[0] == shown[1], target


def test_methods_and_bodies(proxy: tuple[int, list[bytes]]) -> None:
    """Only GET and HEAD ask for values, and no body is sent on."""
    port, asked = proxy
    assert fetch(port, "/a", method="POST", body=b"x").status == 405
    head = parse_response(send_raw(port, b"HEAD /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), "HEAD")
    assert head is not None and (head.status, head.get("content-length")) == (200, "5")
    assert status_and_body(fetch(port, "/a", body=b"12345")) == (200, b"hello")
    assert asked[-1] == b"get /a\r\n"
