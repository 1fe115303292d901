"""request: heads of requests have one reading or are refused. Pure: no socket is opened."""

from __future__ import annotations

import pytest

from wsgi_proxy.errors import ClientError
from wsgi_proxy.http import request as message
from wsgi_proxy.http.request import RequestHead, parse_request_head


def request(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes | None = b"Host: a") -> RequestHead:
    lines = [line] + ([host] if host is not None else []) + list(fields)
    return parse_request_head(b"\r\n".join(lines) + b"\r\n\r\n")


# --- requests that are good ----------------------------------------------------------------------------------------------


def test_a_request_keeps_case_order_and_bytes() -> None:
    head = request(b"X-b:  two \t", b"x-B:", b"X-\xe9: no".replace(b"\xe9", b"e"), b"Y: caf\xe9\t!")
    assert (head.method, head.target, head.uri, head.version, head.host) == ("GET", "/", "/", (1, 1), "a")
    assert head.pairs == [("Host", "a"), ("X-b", "two"), ("x-B", ""), ("X-e", "no"), ("Y", "caf\xe9\t!")]
    assert head.content_length is None and not head.chunked and head.keep_alive and not head.expect_continue


@pytest.mark.parametrize("target", ["/é/a%2Fb".encode(), b"//a/../b;x", b"/?x&y=", b'/a|b"<>\\^`{}', b"/%zz", b"/?"])
def test_origin_form_is_untouched(target: bytes) -> None:
    assert request(line=b"GET " + target + b" HTTP/1.1").target == target.decode("latin-1")


@pytest.mark.parametrize(
    ("target", "uri", "host", "scheme"),
    [
        (b"http://b:81/x?y", "/x?y", "b:81", "http"),
        (b"HTTPS://b", "/", "b", "https"),
        (b"http://b?q", "/?q", "b", "http"),
        (b"http://[::1]:8/", "/", "[::1]:8", "http"),
    ],
)
def test_absolute_form_overrides_host(target: bytes, uri: str, host: str, scheme: str) -> None:
    head = request(b"X: y", line=b"GET " + target + b" HTTP/1.1")
    assert (head.uri, head.host, head.scheme) == (uri, host, scheme)
    assert head.pairs == [("Host", host), ("X", "y")]


def test_connect_and_asterisk() -> None:
    head = request(line=b"CONNECT b:443 HTTP/1.1", host=b"Host: b")
    assert (head.uri, head.host, head.pairs) == ("b:443", "b:443", [("Host", "b:443")])
    assert request(line=b"OPTIONS * HTTP/1.1").uri == "*"


@pytest.mark.parametrize(
    ("line", "fields", "keep"),
    [
        (b"GET / HTTP/1.1", [], True),
        (b"GET / HTTP/1.1", [b"Connection: foo, CLOSE"], False),
        (b"GET / HTTP/1.1", [b"Connection: foo", b"connection: close"], False),
        (b"GET / HTTP/1.0", [], False),
        (b"GET / HTTP/1.0", [b"Connection: Keep-Alive"], True),
        (b"GET / HTTP/1.0", [b"Connection: keep-alive, close"], False),
        (b"GET / HTTP/1.7", [], True),
    ],
)
def test_keep_alive(line: bytes, fields: list[bytes], keep: bool) -> None:
    assert request(*fields, line=line).keep_alive is keep


def test_framing_expect_and_upgrade() -> None:
    assert request(b"Content-Length: 005").content_length == 5
    assert request(b"Transfer-Encoding: Chunked").chunked
    assert request(b"Expect: 100-Continue").expect_continue
    assert not request(b"Expect: 100-continue", line=b"GET / HTTP/1.0").expect_continue
    head = request(b"Upgrade: websocket", b"Connection: keep-alive, Upgrade")
    assert head.upgrade == "websocket" and head.connection_tokens == {"keep-alive", "upgrade"}
    assert request(b"Upgrade: websocket").upgrade == ""
    assert request(b"Upgrade: x", b"Connection: upgrade", line=b"GET / HTTP/1.0").upgrade == ""


GOOD_HOSTS = [b"a", b"a:", b"a:0", b"a:000080", b"A.b-c_d:65535", b"[::1]", b"[::ffff:1.2.3.4]:80", b"a%20b", b"x=1;y", b"a.",
              b"1.2.3.4"]  # fmt: skip


@pytest.mark.parametrize("host", GOOD_HOSTS)
def test_good_hosts(host: bytes) -> None:
    assert request(host=b"Host: " + host).host == host.decode()


# --- requests that are refused: docs/security.md has a row for each ---------------------------------------------------------

BAD_HOSTS = [b"", b"a@b", b"a b", b"a,b", b"a/b", b"a?b", b"a#b", b"a:b", b"a:65536", b"a:-1", b"a:1:2", b"[::1",
             b"[g::]", b"[::1]x", b"a..b", b":80", b"a\xe9", b"a\\b", b"a%zz", b"[::1%25lo]", b"a:80000000000"]  # fmt: skip

BAD_REQUESTS: dict[str, tuple[int, bytes]] = {
    "CL and TE": (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "TE and CL": (400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"),
    "two CL": (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
    "equal CL": (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\n"),
    "CL list": (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n"),
    "Authorization twice": (400, b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YTpi\r\nauthorization: Basic YTpj\r\n\r\n"),
    "Proxy-Authorization twice": (400, b"GET / HTTP/1.1\r\nHost: a\r\nProxy-Authorization: a\r\nProxy-Authorization: a\r\n\r\n"),
    "If-Match twice": (400, b'GET / HTTP/1.1\r\nHost: a\r\nIf-Match: "a"\r\nIf-Match: "b"\r\n\r\n'),
    "If-None-Match twice": (400, b'GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: "a"\r\nX: y\r\nIf-None-Match: "b"\r\n\r\n'),
    "If-Range twice": (400, b'GET / HTTP/1.1\r\nHost: a\r\nIf-Range: "a"\r\nIf-Range: "a"\r\n\r\n'),
    "If-Modified-Since twice": (400, b"GET / HTTP/1.1\r\nHost: a\r\nIf-Modified-Since: a\r\nIf-Modified-Since: b\r\n\r\n"),
    "If-Unmodified-Since twice": (400, b"GET / HTTP/1.1\r\nHost: a\r\nIf-Unmodified-Since: a\r\nIf-Unmodified-Since: b\r\n\r\n"),
    "Content-Range twice": (400, b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Range: a\r\nContent-Range: b\r\n\r\n"),
    "Expect twice": (400, b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: 100-continue\r\n\r\n"),
    "CL empty": (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"),
    "CL plus": (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n"),
    "CL minus": (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
    "CL hex": (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n"),
    "CL underscore": (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\n"),
    "CL superscript": (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\xb2\r\n\r\n"),
    "CL inner space": (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 2\r\n\r\n"),
    "CL above 63 bits": (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n"),
    "CL many digits": (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\n"),
    "TE gzip, chunked": (501, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
    "TE xchunked": (501, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"),
    "TE chunked twice": (501, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n"),
    "TE on two lines": (400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"),
    "TE equal lines": (400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "TE quoted": (501, b'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "chunked"\r\n\r\n'),
    "TE parameter": (501, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n"),
    "TE identity": (501, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"),
    "TE empty": (501, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n"),
    "TE vertical tab": (400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n"),
    "TE in 1.0": (400, b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "obs-fold": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n"),
    "obs-fold first": (400, b"GET / HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n"),
    "obs-fold empty": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n \r\n\r\n"),
    "space before colon": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n"),
    "tab before colon": (400, b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 1\r\n\r\n"),
    "no colon": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
    "no colon, known name": (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost\r\n\r\n"),
    "empty name": (400, b"GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n"),
    "name with high byte": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX\xe9: y\r\n\r\n"),
    "name with parenthesis": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX(: y\r\n\r\n"),
    "NUL in value": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
    "NUL in name": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n"),
    "DEL in value": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n"),
    "CR in value": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
    "LF in value": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\nb: c\r\n\r\n"),
    "CR CR LF": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\r\n\r\n"),
    "LF CR": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\n\rY: b\r\n\r\n"),
    "bare LF after the line": (400, b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    "no Host": (400, b"GET / HTTP/1.1\r\nX: y\r\n\r\n"),
    "two Hosts": (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    "two equal Hosts": (400, b"GET / HTTP/1.0\r\nHost: a\r\nhost: a\r\n\r\n"),
    "absolute without Host": (400, b"GET http://a/ HTTP/1.1\r\n\r\n"),
    "absolute, bad Host": (400, b"GET http://a/ HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    "absolute with user": (400, b"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "absolute without host": (400, b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "absolute, other scheme": (400, b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "relative target": (400, b"GET x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "query alone": (400, b"GET ?x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "authority, not CONNECT": (400, b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "asterisk, not OPTIONS": (400, b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    "IPvFuture without its version": (400, b"GET / HTTP/1.1\r\nHost: [v.a]\r\n\r\n"),
    "CONNECT to a path": (400, b"CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "CONNECT without port": (400, b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"),
    "CONNECT port 0": (400, b"CONNECT a:0 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "CONNECT with user": (400, b"CONNECT u@a:1 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "CONNECT with length": (400, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"),
    "CONNECT chunked": (400, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "fragment": (400, b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "space in target": (400, b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "tab in target": (400, b"GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n"),
    "NUL in target": (400, b"GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "empty target": (400, b"GET  HTTP/1.1\r\nHost: a\r\n\r\n"),
    "two spaces": (400, b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "space at the start": (400, b" GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "space at the end": (400, b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    "tab for space": (400, b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    "lower-case method": (400, b"get / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "method with colon": (400, b"GE:T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "TRACE": (405, b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "HTTP/0.9": (400, b"GET /\r\nHost: a\r\n\r\n"),
    "HTTP/0.9 named": (400, b"GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    "HTTP/2.0": (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    "HTTP/1.10": (400, b"GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    "http/1.1": (400, b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    "HTTP/1": (400, b"GET / HTTP/1\r\nHost: a\r\n\r\n"),
    "an HTTP/2 preface": (505, b"PRI * HTTP/2.0\r\n\r\n"),
    "incomplete": (400, b"GET / HTTP/1.1\r\nHost: a\r\n"),
    "nothing": (400, b""),
    "empty line": (400, b"\r\n\r\n"),
    "head in a head": (400, b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
    **{f"Host {host!r}": (400, b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n") for host in BAD_HOSTS},
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_refused_request(name: str) -> None:
    status, data = BAD_REQUESTS[name]
    with pytest.raises(ClientError) as caught:
        parse_request_head(data)
    assert caught.value.status == status


def test_fields_that_may_be_repeated() -> None:
    for name in ("Range", "Content-Type", "User-Agent", "Referer", "TE", "Via", "Accept", "Date", "X-Real-IP"):
        assert len(request(f"{name}: a".encode(), f"{name}: b".encode()).pairs) == 3
    assert len(request(b"If-Match: a", b"If-None-Match: a", b"If-Range: a", b"Expect: x", b"Authorization: y").pairs) == 6


BAD_BEGINNINGS = [
    b"GET / HTTP/1.1\nHost",
    b"GET / HTTP/1.1\r\nX: \0",
    b"GET / HTTP/1.1\r\nX: a\rb",
    b"GET / HTTP/1.1\r\r",
    b"GET /\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"GET / HTTP/2.0\r\nHo",
    b"get / HTTP/1.1\r\n",
    b"garbage",
    b" GET",
    b"{",
]


@pytest.mark.parametrize("data", BAD_BEGINNINGS)
def test_a_partial_request_that_cannot_become_good(data: bytes) -> None:
    with pytest.raises(ClientError):
        message.check_partial_request(data)


def test_a_partial_request_that_can() -> None:
    good = (b"", b"\r", b"GE", b"GET ", b"GET /a", b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\r\nHo", b"GET / HTTP/1.1\r\nX: a\r")
    for data in good:
        message.check_partial_request(data)
