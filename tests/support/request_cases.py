"""Valid and invalid requests with their expected results: the table of `tests/e2e/test_hostile_requests.py`.

A case has a description, the bytes, the responses, and the exact bytes that the upstream receives. A refused request does not
reach the upstream, and its connection is closed. `docs/security.md` gives the reasons. Each case was compared with nginx. Where
nginx accepts an ambiguous message (bare LFs, fields that Connection names, `Proxy`), the RFCs are followed instead.
"""

from __future__ import annotations

from dataclasses import dataclass

HOST = b"Host: a.example"
POST = b"POST /p HTTP/1.1"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: a.example\r\n\r\n"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a.example\r\n\r\n"
"""A request within another's bytes: no upstream may ever see one for its target."""
MAX_BODY = 100_000
"""`client_max_body_size` of the proxy that the table is for."""


@dataclass(frozen=True)
class Seen:
    """A request as the upstream must have it: the line, Host and length, and then the client's own fields in their order."""

    line: str = "GET /p HTTP/1.1"
    fields: tuple[str, ...] = ()
    body: bytes | None = None
    host: str | None = "a.example"

    def head(self) -> bytes:
        lines = [self.line]
        if self.host is not None:
            lines.append(f"Host: {self.host}")
        lines += [field for field in self.fields if field.startswith(("Connection:", "Upgrade:"))]
        if self.body is not None:
            lines.append(f"Content-Length: {len(self.body)}")
        lines += [field for field in self.fields if not field.startswith(("Connection:", "Upgrade:"))]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """`answers` are the statuses to come, each a set of those that will do; `ends`: the connection is closed behind them."""

    sentence: str
    data: bytes
    responses: tuple[frozenset[int], ...]
    seen: tuple[Seen, ...] = ()
    ends: bool = False
    methods: tuple[str, ...] = ()
    """The requests' methods, if the framing of a response depends on them."""
    behind: bytes = b""
    """Bytes that follow and must not be read as a request."""


def request(*fields: bytes, line: bytes = b"GET /p HTTP/1.1", host: bytes | None = HOST, body: bytes = b"") -> bytes:
    """A request of these lines."""
    lines = [line] + ([host] if host is not None else []) + list(fields)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def get(target: bytes, host: bytes | None = HOST) -> bytes:
    return request(line=b"GET " + target + b" HTTP/1.1", host=host)


def post(*fields: bytes, body: bytes = b"hello") -> bytes:
    return request(*fields, line=POST, body=body)


def chunks(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=body)


def refused(sentence: str, data: bytes, *statuses: int) -> Case:
    """Neither the request nor the bytes behind it reach the upstream."""
    return Case(sentence, data, (frozenset(statuses or (400,)),), ends=True, behind=HIDDEN)


def passed(sentence: str, data: bytes, *seen: Seen, ends: bool = False, methods: tuple[str, ...] = ()) -> Case:
    """Each of `seen` (a plain GET by default) reaches the upstream, in this order, and is answered 200."""
    what = seen or (Seen(),)
    return Case(sentence, data, (frozenset({200}),) * len(what), what, ends, methods)


def named(prefix: str, value: bytes) -> str:
    shown = repr(value if len(value) <= 40 else value[:20] + b"...")[1:]
    return f"{prefix} {shown}{f' of {len(value)} bytes' if len(value) > 40 else ''}"


GET_NEXT = Seen("GET /next HTTP/1.1")
BODY = Seen("POST /p HTTP/1.1", body=b"hello")


# --- the request line -----------------------------------------------------------------------------------------------------------

METHODS = [
    *[
        passed(named("method", method), request(line=method + b" /p HTTP/1.1"), Seen(f"{method.decode()} /p HTTP/1.1"))
        for method in b"OPTIONS DELETE PATCH PROPFIND PROPPATCH REPORT PURGE FOO M-SEARCH VERSION-CONTROL MKCOL COPY A_B".split()
    ],
    passed("a method of 5000 letters", request(line=b"A" * 5000 + b" /p HTTP/1.1"), Seen("A" * 5000 + " /p HTTP/1.1")),
    *[
        refused(named("method", method), request(line=method + b" /p HTTP/1.1"))
        for method in (
            b"get",
            b"Get",
            b"gET",
            b"G\x00T",
            b"GE T",
            b"GE:T",
            b"GE/T",
            b'GE"T',
            b"G(T)",
            b"[GET]",
            b"{GET}",
            b"G\xc9T",
            b"GET,",
            b"GET;",
            b"G=T",
            b"G@T",
            b"G?T",
            b"G\\T",
            b"G<T>",
            b"G\x7fT",
            b"G\x01T",
            b"",
            b"1",
            b"*",
            b"#",
            b"%47ET",
        )  # fmt: skip
    ],
    refused("TRACE", request(line=b"TRACE /p HTTP/1.1"), 405),
    refused("TRACE with a body", request(b"Content-Length: 5", line=b"TRACE /p HTTP/1.1", body=b"hello"), 405),
    refused("TRACE that may go nowhere", request(b"Max-Forwards: 0", line=b"TRACE /p HTTP/1.1"), 405),
    refused("CONNECT to a host", request(line=b"CONNECT a.example:443 HTTP/1.1", host=b"Host: a.example:443"), 405),
    refused("CONNECT to an address", request(line=b"CONNECT 127.0.0.1:22 HTTP/1.1", host=b"Host: 127.0.0.1:22"), 405),
    refused("CONNECT to a path", request(line=b"CONNECT /p HTTP/1.1")),
    refused("CONNECT without a port", request(line=b"CONNECT a.example HTTP/1.1")),
    refused("CONNECT to a URL", request(line=b"CONNECT http://a.example:80/ HTTP/1.1")),
    refused("CONNECT with a body", request(b"Content-Length: 5", line=b"CONNECT a.example:443 HTTP/1.1", body=b"hello")),
]

VERSIONS = [
    passed("HTTP/1.0", request(line=b"GET /p HTTP/1.0"), ends=True),
    passed("HTTP/1.0 without Host", request(line=b"GET /p HTTP/1.0", host=None), Seen(host="front"), ends=True),
    passed("HTTP/1.2", request(line=b"GET /p HTTP/1.2")),
    passed("HTTP/1.9", request(line=b"GET /p HTTP/1.9")),
    *[
        refused(named("version", version), request(line=b"GET /p " + version), 400, 505)
        for version in (
            b"HTTP/0.9",
            b"HTTP/2.0",
            b"HTTP/2",
            b"HTTP/3.0",
            b"HTTP/9.9",
            b"HTTP/1.10",
            b"HTTP/1.1x",
            b"HTTP/01.1",
            b"HTTP/1",
            b"HTTP/1.",
            b"HTTP/.1",
            b"HTTP/11",
            b"HTTP/-1.1",
            b"HTTP/+1.1",
            b"HTTP/1,1",
            b"HTTP/1.1.1",
            b"HTTP1.1",
            b"http/1.1",
            b"Http/1.1",
            b"HTP/1.1",
            b"XHTTP/1.1",
            b"HTTPS/1.1",
            b"HTTP /1.1",
            b"HTTP/ 1.1",
            b"HTTP/1 .1",
            b"HTTP/1.1 ",
            b" HTTP/1.1",
            b"HTTP/1.1\t",
            b"\tHTTP/1.1",
            b"HTTP/1.1;",
            b"HTTP/1.1\0",
            b"HTTP/1.1 x",
            b"HTTP/\xb9.1",
            b"HTTP",
            b"1.1",
        )  # fmt: skip
    ],
]

LINES = [
    *[
        refused(named("line", line), request(line=line))
        for line in (
            b"GET  /p HTTP/1.1",
            b"GET\t/p HTTP/1.1",
            b" GET /p HTTP/1.1",
            b"\tGET /p HTTP/1.1",
            b"GET /p  HTTP/1.1",
            b"GET /p\tHTTP/1.1",
            b"GET /p",
            b"GET",
            b"GET ",
            b"GET HTTP/1.1",
            b"GET  HTTP/1.1",
            b"/p HTTP/1.1",
            b"GET /p /q HTTP/1.1",
            b"GET /p\x0b HTTP/1.1",
            b"GET /p\x0cHTTP/1.1",
            b"\0GET /p HTTP/1.1",
            b"GET /p\rX HTTP/1.1",
            b"GET /p\xa0HTTP/1.1",
            b"GET /p HTTP/1.1 HTTP/1.1",
            b"HTTP/1.1 200 OK",
            b"Host: a.example",
            b"\xef\xbb\xbfGET /p HTTP/1.1",
        )  # fmt: skip
    ],
    passed("an empty line first", b"\r\n" + request()),
    passed("three empty lines first", b"\r\n\r\n\r\n" + request()),
    refused("a bare LF first", b"\n" + request()),
    refused("a bare CR first", b"\r" + request()),
    refused("a bare LF behind the line", b"GET /p HTTP/1.1\nHost: a.example\r\n\r\n"),
    refused("bare LFs throughout", b"GET /p HTTP/1.1\nHost: a.example\n\n"),
    refused("a bare CR behind the line", b"GET /p HTTP/1.1\rHost: a.example\r\n\r\n"),
    refused("CR CR LF behind the line", b"GET /p HTTP/1.1\r\r\nHost: a.example\r\n\r\n"),
    refused("a bare LF for the empty line", b"GET /p HTTP/1.1\r\nHost: a.example\r\n\n"),
    refused("CR CR LF for the empty line", b"GET /p HTTP/1.1\r\nHost: a.example\r\n\r\r\n"),
    refused("a request of HTTP/0.9", b"GET /p\r\n"),
    refused("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 50),
    refused("HTTP/2's first words", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 505),
    refused("a line of the PROXY protocol", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + request()),
    refused("an SSH client", b"SSH-2.0-OpenSSH_9.2\r\n"),
    refused("a mail client", b"EHLO a.example\r\n"),
]

# --- targets --------------------------------------------------------------------------------------------------------------------

UNTOUCHED = (
    b"/", b"//", b"//p", b"//evil.example/p", b"///p", b"/a//b", b"/a/../b", b"/./a", b"/a/.", b"/a/..", b"/.", b"/...",
    b"/....//x",
    b"/a/%2e%2e/b", b"/a%2fb", b"/a%2Fb", b"/a%5cb", b"/a%5C..%5Cb", b"/a%252fb", b"/a%252e%252e", b"/a%0ab", b"/a%0d%0ab",
    b"/a%7f", b"/a%20b", b"/?", b"/p?", b"/??", b"/?a=b?c", b"/?%zz", b"/?%00", b"/?a=%0d%0aX:y", b"/?a&b=&=c", b"/caf\xc3\xa9",
    b"/caf\xe9",
    b"/?caf\xc3\xa9", b"/a\\b", b"/a;b=c", b"/;", b"/a|b", b"/a<b>", b'/a"b"', b"/a`b", b"/a{b}", b"/a^b", b"/a[b]", b"/a'b",
    b"/a*b", b"/~a",
    b"/a+b", b"/a:b", b"/a@b", b"/a=b", b"/a,b", b"/$x", b"/!", b"/(a)", b"/http://b.example/", b"/%41", b"/%c0%ae%c0%ae/",
    b"/\x80", b"/p;jsessionid=1?x", b"/a/../a/../a", b"/a%2F%2e%2e",
)  # fmt: skip

TARGETS = [
    *[passed(named("target", target), get(target), Seen(f"GET {target.decode('latin-1')} HTTP/1.1")) for target in UNTOUCHED],
    *[
        refused(named("target", target), get(target))
        for target in (
            b"/..",
            b"/../x",
            b"/a/../../x",
            b"/%2e%2e/x",
            b"/.%2e/x",
            b"/a/%2e%2e/%2e%2e/x",
            b"/%00",
            b"/a%00b",
            b"/%",
            b"/%z",
            b"/%zz",
            b"/%2",
            b"/%u0041",
            b"/a#b",
            b"/#",
            b"/?a#b",
            b"/a b",
            b"/a\tb",
            b"/a\0b",
            b"/a\x01b",
            b"/a\x7f",
            b"/a\x1b[2J",
            b"*",
            b"**",
            b"*/p",
            b"a.example:80",
            b"a.example",
            b"p",
            b"p/q",
            b"?q",
            b"./p",
            b"../p",
            b"\\p",
            b"%2fp",
            b"://a.example/p",
            b":80",
            b"\xc3\xa9",
            b"/a\rb",
            b"/a\nb",
        )  # fmt: skip
    ],
    passed("absolute, the same host", get(b"http://a.example/p")),
    passed("absolute, another host", get(b"http://b.example/p"), Seen(host="b.example")),
    passed("absolute, another host and port", get(b"http://b.example:81/p?q"), Seen("GET /p?q HTTP/1.1", host="b.example")),
    passed("absolute, host in capitals", get(b"http://A.EXAMPLE/p")),
    passed("absolute, scheme in capitals", get(b"HTTP://a.example/p")),
    Case("absolute https over plain HTTP", get(b"https://a.example/p"), (frozenset({421}),)),
    passed("absolute without a path", get(b"http://a.example"), Seen("GET / HTTP/1.1")),
    passed("absolute with a query alone", get(b"http://a.example?q=1"), Seen("GET /?q=1 HTTP/1.1")),
    passed("absolute, an empty port", get(b"http://a.example:/p")),
    passed("absolute, IPv6", get(b"http://[::1]:80/p"), Seen(host="[::1]")),
    passed("absolute, odd path", get(b"http://a.example//a/../%2fb?x"), Seen("GET //a/../%2fb?x HTTP/1.1")),
    passed("absolute in HTTP/1.0", request(line=b"GET http://a.example/p HTTP/1.0", host=None), ends=True),
    passed(
        "OPTIONS to an absolute target with a path",
        request(line=b"OPTIONS http://a.example/p HTTP/1.1"),
        Seen("OPTIONS /p HTTP/1.1"),
    ),
    *[
        refused(named("absolute", target), get(target))
        for target in (
            b"http://u:p@a.example/p",
            b"http://u@a.example/p",
            b"http://@a.example/p",
            b"http://a.example@b.example/p",
            b"http:///p",
            b"http:/p",
            b"http:p",
            b"http://",
            b"http://?q",
            b"http://a.example/p#f",
            b"http://a.example#f",
            b"http://a b/p",
            b"http://a,b/p",
            b"http://[::1/p",
            b"http://::1/p",
            b"http://a.example:99999/p",
            b"http://a.example:x/p",
            b"http://a.example:-1/p",
            b"http://a.example/../x",
            b"http://a.example\\@b.example/p",
            b"ftp://a.example/p",
            b"ws://a.example/p",
            b"file:///etc/passwd",
            b"gopher://a.example/p",
            b"javascript:alert(1)",
            b"http//a.example/p",
            b"http://a..example/p",
            b"http://a%0/p",
            b"http://\xc3\xa9/p",
        )  # fmt: skip
    ],
    refused("absolute without Host", get(b"http://a.example/p", host=None)),
    refused("absolute with an empty Host", get(b"http://a.example/p", host=b"Host:")),
    refused("absolute with a bad Host", get(b"http://a.example/p", host=b"Host: a@b")),
    refused("absolute with two Hosts", get(b"http://a.example/p", host=b"Host: a\r\nHost: b")),
    refused("OPTIONS * (as nginx, nobody here is asked)", request(line=b"OPTIONS * HTTP/1.1")),
    *[
        passed(f"a target of {n} bytes", get(b"/" + b"a" * (n - 1)), Seen(f"GET /{'a' * (n - 1)} HTTP/1.1"))
        for n in (255, 3000, 8100)
    ],
    passed("a line of 8190 bytes", get(b"/" + b"a" * 8176), Seen(f"GET /{'a' * 8176} HTTP/1.1")),
    refused("a line of 8191 bytes", get(b"/" + b"a" * 8177), 414),
    *[refused(f"a target of {n} bytes", get(b"/" + b"a" * (n - 1)), 414) for n in (8193, 40_000, 1_000_000)],
    refused("a query of 9000 bytes", get(b"/?" + b"a" * 9000), 414),
]

# --- Host -----------------------------------------------------------------------------------------------------------------------

GOOD_HOSTS = {
    b"a.example": "a.example", b"A.Example": "a.example", b"a.example:80": "a.example", b"a.example:8080": "a.example",
    b"a.example:": "a.example", b"a.example:0": "a.example", b"a.example:65535": "a.example", b"a.example:00080": "a.example",
    b"a.example.": "a.example", b"a_b.example": "a_b.example", b"-a.example": "-a.example",
    b"xn--caf-dma.example": "xn--caf-dma.example",
    b"a%41.example": "a%41.example", b"127.0.0.1": "127.0.0.1", b"127.0.0.1:80": "127.0.0.1", b"[::1]": "[::1]",
    b"[::1]:80": "[::1]",
    b"[2001:DB8::1]:8": "[2001:db8::1]", b"localhost": "localhost", b"*.example": "*.example", b"a;b=c": "a;b=c",
    b"a!$&'()*+~": "a!$&'()*+~",
    b"999.1.1.1": "999.1.1.1", b"a" * 255: "a" * 255,
}  # fmt: skip

HOSTS = [
    *[passed(named("Host", host), request(host=b"Host: " + host), Seen(host=shown)) for host, shown in GOOD_HOSTS.items()],
    *[
        refused(named("Host", host), request(host=b"Host: " + host))
        for host in (
            b"",
            b" ",
            b"\t",
            b"u@a.example",
            b"u:p@a.example",
            b"@",
            b"a b",
            b"a\tb",
            b"a,b",
            b"a, b",
            b"a.example, a.example",
            b"[::1",
            b"::1",
            b"::1:80",
            b"[::1]x",
            b"[::1]:x",
            b"[]",
            b"[a]",
            b"[g::1]",
            b"[::1%25eth0]",
            b"[::1%eth0]",
            b"[127.0.0.1]",
            b"a.example:65536",
            b"a.example:99999999999999999999",
            b"a.example:-1",
            b"a.example:+80",
            b"a.example:8x",
            b"a.example:0x50",
            b"a.example:80:90",
            b"a.example: 80",
            b"a.example :80",
            b":80",
            b":",
            b"a..example",
            b"a.example..",
            b".",
            b"..",
            b"a%zz",
            b"a%0",
            b"a%",
            b"caf\xe9",
            b"caf\xc3\xa9",
            b"a/b",
            b"a/",
            b"/",
            b"a\\b",
            b"a?b",
            b"a#b",
            b'a"b',
            b"a<b>",
            b"a|b",
            b"a^b",
            b"a`b",
            b"a{b}",
            b"http://a.example",
            b"http://a.example/",
            b"a\0b",
            b"a\x01b",
            b"a\x7fb",
            b"a.example\x0b",
            b"a:80#@b",
            b"a\xa0b",
        )  # fmt: skip
    ],
    refused("no Host in HTTP/1.1", request(host=None)),
    refused("no Host in HTTP/1.2", request(line=b"GET /p HTTP/1.2", host=None)),
    refused("an empty Host in HTTP/1.0", request(line=b"GET /p HTTP/1.0", host=b"Host:")),
    refused("a bad Host in HTTP/1.0", request(line=b"GET /p HTTP/1.0", host=b"Host: a b")),
    refused("Host twice, the same", request(HOST)),
    refused("Host twice, differing", request(b"Host: b.example")),
    refused("Host twice, in another case", request(b"host: b.example")),
    refused("Host twice, one empty", request(b"Host:")),
    refused("Host twice in HTTP/1.0", request(b"Host: b.example", line=b"GET /p HTTP/1.0")),
    refused("Host twice, far apart", request(*[b"X: y"] * 50, b"Host: b.example")),
    refused("a space before Host's colon", request(host=b"Host : a.example")),
    refused("a space before Host", request(host=b"X: y\r\n Host: a.example")),
    refused("Host folded", request(host=b"Host:\r\n a.example")),
    passed("host in lower case", request(host=b"host: a.example")),
    passed("HOST in capitals", request(host=b"HOST: a.example")),
    passed("Host without a space", request(host=b"Host:a.example")),
    passed("Host with white space around", request(host=b"Host: \t a.example \t")),
    passed("Host last of all", request(b"X: y", HOST, host=None), Seen(fields=("X: y",))),
    passed("names that are nearly Host", request(b"Host_: b", b"H_ost: b", b"Hosts: b"), Seen(fields=("Hosts: b",))),
]

# --- field lines ----------------------------------------------------------------------------------------------------------------

KEPT = {
    b"X:y": "X: y", b"X: ": "X: ", b"X:": "X: ", b"X:   y  ": "X: y", b"X:\ty\t": "X: y", b"X: a  b": "X: a  b",
    b"X: a\tb": "X: a\tb",
    b"X: \xe9\xff": "X: \xe9\xff", b"X: caf\xc3\xa9": "X: caf\xc3\xa9", b"X: a:b": "X: a:b", b"X:: b": "X: : b",
    b'X: "q\\""': 'X: "q\\""',
    b"X: a, b": "X: a, b", b"x-CaSe-X: y": "x-CaSe-X: y", b"1X: y": "1X: y", b"-X: y": "-X: y",
    b"X: {}[]()<>@,;\\/?=": "X: {}[]()<>@,;\\/?=",
    b"X: y;": "X: y;", b"X-" + b"a" * 300 + b": y": f"X-{'a' * 300}: y", b"X: " + b"a" * 8000: "X: " + "a" * 8000,
    b"X: %0d%0aY: z": "X: %0d%0aY: z",
}  # fmt: skip

FIELDS = [
    *[passed(named("field", line), request(line, b"Z: last"), Seen(fields=(shown, "Z: last"))) for line, shown in KEPT.items()],
    *[
        # nginx (ignore_invalid_headers, underscores_in_headers): tokens, but not distinct names for CGI-like upstreams.
        passed(named("field not passed on", line), request(line, b"Z: last"), Seen(fields=("Z: last",)))
        for line in (
            b"X_Y: y",
            b"X.Y: y",
            b"X!Y: y",
            b"X#Y: y",
            b"X$Y: y",
            b"X%Y: y",
            b"X&Y: y",
            b"X'Y: y",
            b"X*Y: y",
            b"X+Y: y",
            b"X^Y: y",
            b"X`Y: y",
            b"X|Y: y",
            b"X~Y: y",
            b"_: y",
            b"Transfer_Encoding: chunked",
            b"Content_Length: 5",
            b"X_Forwarded_For: 6.6.6.6",
            b"X_Real_IP: 6.6.6.6",
            b"Authorization_: x",
            b"SCRIPT_NAME: /x",
            b"REMOTE_USER: root",
            b"HTTP_HOST: b.example",
        )
    ],  # fmt: skip
    *[
        refused(named("field", line), request(line, b"Z: last"))
        for line in (
            b"nocolon",
            b"Content-Length",
            b"X : y",
            b"X\t: y",
            b"X \t : y",
            b": y",
            b":",
            b" : y",
            b"X: a\0b",
            b"X: \0",
            b"X: a\rb",
            b"X: a\r",
            b"X: a\x01b",
            b"X: a\x7fb",
            b"X: a\x0bb",
            b"X: a\x0cb",
            b"X: a\x08",
            b"X: a\x1b[2J",
            b"X: a\x1fb",
            b"X\0: y",
            b"\0X: y",
            b"X\r: y",
            b"X\x01: y",
            b"X\x7f: y",
            b"X\x0b: y",
            b"X(: y",
            b"X)Y: y",
            b"X/Y: y",
            b"X@Y: y",
            b"X[Y]: y",
            b"X{Y}: y",
            b'X"Y": y',
            b"X Y: y",
            b"X,Y: y",
            b"X;Y: y",
            b"X=Y: y",
            b"X?Y: y",
            b"X\\Y: y",
            b"X<Y>: y",
            b"X\xe9: y",
            b"X\xc3\xa9: y",
            b"\xa0X: y",
            b"X: a\n b",
            b"X: a\r\n b",
            b"X: a\r\n\tb",
            b"X: a\r\n \r\nY: z",
            b"X:\r\n y",
            b"X: a\nY: z",
            b"X: a\n\rY: z",
            b"X: a\r\rY: z",
            b"X: a\n",
            b" X: y",
            b"\tX: y",
            b"GET /hidden HTTP/1.1",
            b":authority: b.example",
            b":path: /hidden",
        )  # fmt: skip
    ],
    refused("a space before the first field", b"GET /p HTTP/1.1\r\n X: y\r\nHost: a.example\r\n\r\n"),
    refused("a tab before the first field", b"GET /p HTTP/1.1\r\n\tX: y\r\nHost: a.example\r\n\r\n"),
    refused("white space alone before the first field", b"GET /p HTTP/1.1\r\n \r\nHost: a.example\r\n\r\n"),
    passed(
        "repeated fields keep order and case",
        request(b"X: 1", b"Y: 2", b"x: 3", b"X: 1"),
        Seen(fields=("X: 1", "Y: 2", "x: 3", "X: 1")),
    ),
    passed("two cookies stay two", request(b"Cookie: a=1", b"Cookie: b=2"), Seen(fields=("Cookie: a=1", "Cookie: b=2"))),
    passed(
        "500 fields", request(*[b"X-%d: %d" % (n, n) for n in range(500)]), Seen(fields=tuple(f"X-{n}: {n}" for n in range(500)))
    ),
    passed("999 fields and Host", request(*[b"X:"] * 999), Seen(fields=("X: ",) * 999)),
    refused("1000 fields and Host", request(*[b"X:"] * 1000)),
    refused("5000 fields", request(*[b"X:"] * 5000)),
    passed("a field of 8190 bytes", request(b"X: " + b"a" * 8187), Seen(fields=("X: " + "a" * 8187,))),
    refused("a field of 8191 bytes", request(b"X: " + b"a" * 8188)),
    refused("a field of 9 KB", request(b"X: " + b"a" * 9000)),
    refused("a field of 1 MB", request(b"X: " + b"a" * 1_000_000)),
    refused("a name of 9 KB", request(b"X" * 9000 + b": y")),
    passed(
        "four fields of 7 KB",
        request(*[b"X: " + b"a" * 7000] * 4),
        Seen(fields=("X: " + "a" * 7000,) * 4),
    ),
    refused("six fields of 7 KB", request(*[b"X: " + b"a" * 7000] * 6)),
]

# --- framing --------------------------------------------------------------------------------------------------------------------

LENGTHS = [
    *[
        passed(named("Content-Length:", value), post(b"Content-Length: " + value), BODY)
        for value in (b"5", b"05", b"0000000005", b" 5 ", b"5\t")
    ],
    *[
        refused(named("Content-Length:", value), post(b"Content-Length: " + value), 400, 413)
        for value in (
            b"+5",
            b"-5",
            b"-0",
            b"-1",
            b"0x5",
            b"5,5",
            b"5, 5",
            b"5 5",
            b"5,",
            b",5",
            b"",
            b" ",
            b"5;",
            b"5;a=b",
            b"5.0",
            b"5.",
            b"5e0",
            b"5_0",
            b"\xb25",
            b"\xef\xbc\x95",
            b"five",
            b"'5'",
            b'"5"',
            b"5h",
            b"5\0",
            b"\x0b5",
            b"5\x0b",
            b"5\x0c",
            b"5\x01",
            b"\xa05",
            b"5\x85",
            b"9223372036854775807",
            b"9223372036854775808",
            b"18446744073709551615",
            b"18446744073709551621",
            b"4294967301",
            b"1" * 400,
            b"0" * 400,
            b"5\r\n 0",
            b"\r\n 5",
            b"(5)",
            b"5/5",
            b"5\n",
            b"0b101",
            b"0o5",
            b"NaN",
            b"inf",
        )  # fmt: skip
    ],
    refused("Content-Length twice, the same", post(b"Content-Length: 5", b"Content-Length: 5")),
    refused("Content-Length twice, differing", post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!")),
    refused("Content-Length twice, 0 first", post(b"Content-Length: 0", b"Content-Length: 44", body=HIDDEN)),
    refused("Content-Length twice, 0 last", post(b"Content-Length: 44", b"Content-Length: 0", body=HIDDEN)),
    refused("Content-Length twice, 5 and 05", post(b"Content-Length: 5", b"Content-Length: 05")),
    refused("Content-Length twice, in another case", post(b"Content-Length: 5", b"CONTENT-LENGTH: 5")),
    refused("a space before Content-Length's colon", post(b"Content-Length : 5")),
    refused("a tab before Content-Length's colon", post(b"Content-Length\t: 5")),
    refused("Content-Length folded", post(b"Content-Length:\r\n 5")),
    refused("Content-Length in a folded line", post(b"X: y\r\n Content-Length: 5")),
    refused("Content-Length behind a bare CR", post(b"X: y\rContent-Length: 5")),
    refused("Content-Length behind a bare LF", post(b"X: y\nContent-Length: 5")),
    passed("content-length in lower case", post(b"content-length: 5"), BODY),
    passed("Content-Length without a space", post(b"Content-Length:5"), BODY),
    passed("a length in HTTP/1.0", request(b"Content-Length: 5", line=b"POST /p HTTP/1.0", body=b"hello"), BODY, ends=True),
    passed("a length, and the next request", post(b"Content-Length: 5", body=b"hello" + NEXT), BODY, GET_NEXT),
    passed("a request as a body", post(b"Content-Length: %d" % len(HIDDEN), body=HIDDEN), Seen("POST /p HTTP/1.1", body=HIDDEN)),
    passed("a POST without a length", post(body=NEXT), Seen("POST /p HTTP/1.1"), GET_NEXT),
    passed("a length of nothing", post(b"Content-Length: 0", body=NEXT), Seen("POST /p HTTP/1.1", body=b""), GET_NEXT),
    passed("a GET with a length of nothing", request(b"Content-Length: 0", body=NEXT), Seen(body=b""), GET_NEXT),
    passed("Content_Length counts for nothing", post(b"Content_Length: 5", body=NEXT), Seen("POST /p HTTP/1.1"), GET_NEXT),
    passed("Content_Length beside Content-Length", post(b"Content-Length: 5", b"Content_Length: 3"), BODY),
    passed(
        "names that are nearly Content-Length",
        post(b"Content-Length: 5", b"X-Content-Length: 3", b"ContentLength: 2"),
        Seen("POST /p HTTP/1.1", ("X-Content-Length: 3", "ContentLength: 2"), b"hello"),
    ),
]

CODINGS = [
    *[
        passed(named("Transfer-Encoding:", value), post(b"Transfer-Encoding: " + value, body=HELLO), BODY)
        for value in (b"chunked", b"Chunked", b"CHUNKED", b"cHuNkEd", b"  chunked  ", b"chunked\t", b"\tchunked")
    ],
    *[
        refused(named("Transfer-Encoding:", value), post(b"Transfer-Encoding: " + value, body=HELLO), 400, 501)
        for value in (
            b"chunked,",
            b",chunked",
            b", chunked",
            b"chunked ,",
            b"chunked, chunked",
            b"chunked, identity",
            b"identity",
            b"identity, chunked",
            b"gzip, chunked",
            b"gzip",
            b"deflate",
            b"compress",
            b"chunked, gzip",
            b"chunked gzip",
            b"gzip chunked",
            b"xchunked",
            b"chunkedx",
            b"x-chunked",
            b"chunked;a=b",
            b"chunked; q=1",
            b'"chunked"',
            b"'chunked'",
            b"\x0bchunked",
            b"chunked\x0b",
            b"\x0cchunked",
            b"chunked\x0c",
            b"\xa0chunked",
            b"chunked\x85",
            b"chun ked",
            b"chun\tked",
            b"chunked\0",
            b"\0chunked",
            b"",
            b" ",
            b",",
            b"cow",
            b"chunk",
            b"chunked\r\n ",
            b"\r\n chunked",
            b"[chunked]",
            b"chunked\r",
            b"{chunked}",
            b"Chunked, Identity",
            b"trailers, chunked",
            b"chunke\xc4\x91",
            b"\xffchunked",
        )  # fmt: skip
    ],
    refused("Transfer-Encoding twice, the same", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=HELLO)),
    refused("chunked and identity on two lines", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=HELLO)),
    refused("identity and chunked on two lines", post(b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked", body=HELLO)),
    refused("nonsense and chunked on two lines", post(b"Transfer-Encoding: cow", b"transfer-encoding: chunked", body=HELLO)),
    refused("chunked and nothing on two lines", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding:", body=HELLO)),
    refused("Transfer-Encoding, then a length", post(b"Transfer-Encoding: chunked", b"Content-Length: 15", body=HELLO)),
    refused("a length, then Transfer-Encoding", post(b"Content-Length: 15", b"Transfer-Encoding: chunked", body=HELLO)),
    refused(
        "a length over the first chunk, and a request in the rest",
        post(b"Content-Length: 4", b"Transfer-Encoding: chunked", body=b"2e\r\n" + HIDDEN + b"\r\n0\r\n\r\n"),
    ),
    refused(
        "no chunks, and a request in the length",
        post(b"Content-Length: %d" % (5 + len(HIDDEN)), b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + HIDDEN),
    ),
    refused("Transfer-Encoding and a length of nothing", post(b"Transfer-Encoding: chunked", b"Content-Length: 0", body=HELLO)),
    refused("identity and a length", post(b"Transfer-Encoding: identity", b"Content-Length: 5"), 400, 501),
    refused("an empty Transfer-Encoding and a length", post(b"Transfer-Encoding:", b"Content-Length: 5"), 400, 501),
    refused("an unknown coding and a length", post(b"Transfer-Encoding: xchunked", b"Content-Length: 5"), 400, 501),
    refused(
        "Transfer-Encoding in HTTP/1.0", request(b"Transfer-Encoding: chunked", line=b"POST /p HTTP/1.0", body=HELLO), 400, 501
    ),
    refused(
        "Transfer-Encoding and a length in HTTP/1.0",
        request(b"Transfer-Encoding: chunked", b"Content-Length: 5", line=b"POST /p HTTP/1.0", body=b"hello"),
    ),
    refused(
        "Transfer-Encoding and keep-alive in HTTP/1.0",
        request(b"Connection: keep-alive", b"Transfer-Encoding: chunked", line=b"POST /p HTTP/1.0", body=HELLO),
    ),
    passed("Transfer-Encoding in HTTP/1.2", request(b"Transfer-Encoding: chunked", line=b"POST /p HTTP/1.2", body=HELLO), BODY),
    refused("a space before Transfer-Encoding's colon", post(b"Transfer-Encoding : chunked", body=HELLO)),
    refused("a tab before its colon, and a length", post(b"Transfer-Encoding\t: chunked", b"Content-Length: 5")),
    refused("a space before Transfer-Encoding", post(b" Transfer-Encoding: chunked", body=HELLO)),
    refused("Transfer-Encoding in a folded line", post(b"X: y\r\n Transfer-Encoding: chunked", body=HELLO)),
    refused("Transfer-Encoding behind a bare CR", post(b"X: y\rTransfer-Encoding: chunked", body=HELLO)),
    refused("Transfer-Encoding behind a bare LF, and a length", post(b"X: y\nTransfer-Encoding: chunked", b"Content-Length: 5")),
    refused("a NUL in its name, and a length", post(b"Transfer-\0Encoding: chunked", b"Content-Length: 5")),
    refused("a vertical tab in its name, and a length", post(b"Transfer-Encoding\x0b: chunked", b"Content-Length: 5")),
    passed(
        "Transfer_Encoding counts for nothing", post(b"Transfer_Encoding: chunked", body=NEXT), Seen("POST /p HTTP/1.1"), GET_NEXT
    ),
    passed("Transfer_Encoding beside a length", post(b"Transfer_Encoding: chunked", b"Content-Length: 5"), BODY),
    passed("Transfer.Encoding beside a length", post(b"Transfer.Encoding: chunked", b"Content-Length: 5"), BODY),
    passed(
        "names that are nearly Transfer-Encoding",
        post(b"X-Transfer-Encoding: chunked", b"TransferEncoding: chunked", b"Content-Length: 5"),
        Seen("POST /p HTTP/1.1", ("X-Transfer-Encoding: chunked", "TransferEncoding: chunked"), b"hello"),
    ),
]


def sized(line: bytes) -> bytes:
    """A chunked body whose first size line is `line`, without its line end."""
    return chunks(line + b"\r\nhello\r\n0\r\n\r\n")


CHUNKS = [
    *[
        passed(named("chunk size", line), sized(line), BODY)
        for line in (
            b"5",
            b"05",
            b"0000000000000005",
            b"5;a",
            b"5;a=b",
            b'5;a="b;c"',
            b"5 ;a=b",
            b"5; a=b",
            b"5;a;b=c",
            b"5;" + b"a" * 500,
        )
    ],
    *[
        refused(named("chunk size", line), sized(line), 400, 413)
        for line in (
            b"5;",
            b"0x5",
            b"0X5",
            b"+5",
            b"-5",
            b" 5",
            b"5 ",
            b"5\t",
            b"\t5",
            b"5_",
            b"0_5",
            b"5 a",
            b"5 5",
            b"5,5",
            b"5.0",
            b"5h",
            b"g",
            b"five",
            b"",
            b" ",
            b";a",
            b"5\0",
            b"\x005",
            b"5;a\0b",
            b"5;a\rb",
            b"5;a\nb",
            b"5;a=\x7f",
            b"5;\x01",
            b"5\x0b",
            b"\xb25",
            b"5\xa0",
            b"5:",
            b"5=",
            b'"5"',
            b"#5",
            b"00000000000000005",
            b"0" * 40 + b"5",
            b"7fffffffffffffff",
            b"8000000000000000",
            b"ffffffffffffffff",
            b"fffffffffffffffb",
            b"10000000000000005",
            b"100000000000000000005",
            b"5;" + b"a" * 20_000,
        )  # fmt: skip
    ],
    passed("an upper-case chunk size", chunks(b"A\r\n0123456789\r\n0\r\n\r\n"), Seen("POST /p HTTP/1.1", body=b"0123456789")),
    passed("a lower-case chunk size", chunks(b"a\r\n0123456789\r\n0\r\n\r\n"), Seen("POST /p HTTP/1.1", body=b"0123456789")),
    passed("chunks of one byte", chunks(b"1\r\nh\r\n2\r\nel\r\n2\r\nlo\r\n0\r\n\r\n"), BODY),
    passed("a last chunk of many zeros", chunks(b"5\r\nhello\r\n000\r\n\r\n"), BODY),
    passed("a last chunk with an extension", chunks(b"5\r\nhello\r\n0;a=b\r\n\r\n"), BODY),
    passed("no chunk but the last", chunks(b"0\r\n\r\n"), Seen("POST /p HTTP/1.1", body=b"")),
    passed("chunks, and the next request", chunks(HELLO + NEXT), BODY, GET_NEXT),
    passed("no chunks, and the next request", chunks(b"0\r\n\r\n" + NEXT), Seen("POST /p HTTP/1.1", body=b""), GET_NEXT),
    passed("line ends as content", chunks(b"4\r\n\r\n\r\n\r\n0\r\n\r\n"), Seen("POST /p HTTP/1.1", body=b"\r\n\r\n")),
    refused("a bare LF behind a size", chunks(b"5\nhello\r\n0\r\n\r\n")),
    refused("a bare CR behind a size", chunks(b"5\rhello\r\n0\r\n\r\n")),
    refused("CR CR LF behind a size", chunks(b"5\r\r\nhello\r\n0\r\n\r\n")),
    refused("a bare LF behind a chunk", chunks(b"5\r\nhello\n0\r\n\r\n")),
    refused("a bare CR behind a chunk", chunks(b"5\r\nhello\r0\r\n\r\n")),
    refused("no line end behind a chunk", chunks(b"5\r\nhello0\r\n\r\n")),
    refused("two other bytes behind a chunk", chunks(b"5\r\nhelloXX0\r\n\r\n")),
    refused("an empty line behind a chunk", chunks(b"5\r\nhello\r\n\r\n0\r\n\r\n")),
    refused("a chunk that is longer than its size", chunks(b"5\r\nhello!\r\n0\r\n\r\n")),
    refused("a chunk that is shorter than its size", chunks(b"6\r\nhello\r\n0\r\n\r\n")),
    refused("a bare LF behind the last size", chunks(b"5\r\nhello\r\n0\n\r\n")),
    refused("a bare LF for the last line", chunks(b"5\r\nhello\r\n0\r\n\n")),
    refused("bare LFs in all of the framing", chunks(b"5\nhello\n0\n\n")),
    refused("a request in place of a size", chunks(b"5\r\nhello\r\n" + HIDDEN)),
    refused("a request that an LF would free", chunks(b"2e\n" + HIDDEN + b"\r\n0\r\n\r\n")),
    refused("a request in an extension behind an LF", chunks(b"2;\nxx\r\n35\r\n0\r\n\r\n" + HIDDEN + b"\r\n0\r\n\r\n")),
    passed("trailers are not a request's fields", chunks(b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n" + NEXT), BODY, GET_NEXT),
    *[
        passed(named("trailer", line), chunks(b"5\r\nhello\r\n0\r\n" + line + b"\r\n\r\n" + NEXT), BODY, GET_NEXT)
        for line in (
            b"Host: b.example",
            b"Content-Length: 0",
            b"Transfer-Encoding: chunked",
            b"Authorization: x",
            b"Cookie: a=b",
            b"X-Forwarded-For: 6.6.6.6",
            b"Connection: close",
            b"X_Y: z",
            b"Content-Type: a/b",
            b"Trailer: X",
        )
    ],  # fmt: skip
    *[
        refused(named("trailer", line), chunks(b"5\r\nhello\r\n0\r\n" + line + b"\r\n\r\n"))
        for line in (
            b"nocolon",
            b"X : y",
            b" X: y",
            b": y",
            b"X: a\0",
            b"X: a\rb",
            b"X: a\nb",
            b"X\xe9: y",
            b"X: a\r\n b",
            b"X\0: y",
            b"X(: y",
            b"X: \x7f",
            b"GET /hidden HTTP/1.1",
        )
    ],  # fmt: skip
    refused("trailers of 40 KB", chunks(b"5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 7000 + b"\r\n")),
]

BODIES = [
    *[
        passed(
            f"a {method} with a length",
            request(b"Content-Length: 5", line=f"{method} /p HTTP/1.1".encode(), body=b"hello"),
            Seen(f"{method} /p HTTP/1.1", body=b"hello"),
            methods=(method,),
        )
        for method in ("GET", "HEAD", "DELETE", "OPTIONS", "PUT", "PATCH", "FOO")
    ],
    *[
        passed(
            f"a {method} in chunks",
            request(b"Transfer-Encoding: chunked", line=f"{method} /p HTTP/1.1".encode(), body=HELLO),
            Seen(f"{method} /p HTTP/1.1", body=b"hello"),
            methods=(method,),
        )
        for method in ("GET", "HEAD", "DELETE", "OPTIONS", "PUT", "PATCH", "FOO")
    ],
    passed(
        "a request as the body of a GET",
        request(b"Content-Length: %d" % len(HIDDEN), body=HIDDEN + NEXT),
        Seen(body=HIDDEN),
        GET_NEXT,
    ),
    refused("a length over the limit", post(b"Content-Length: 100001", body=b""), 413),
    refused("a length over the limit, and some of the body", post(b"Content-Length: 100001", body=b"x" * 1000), 413),
    refused("a length over the limit, and Expect", post(b"Content-Length: 100001", b"Expect: 100-continue", body=b""), 413),
    refused("a chunk over the limit, of which nothing comes", chunks(b"186a1\r\n"), 413),
    refused("a chunk over the limit, of which some comes", chunks(b"186a1\r\n" + b"x" * 1000), 413),
    refused("chunks over the limit", chunks((b"2710\r\n" + b"x" * 10_000 + b"\r\n") * 10 + b"1\r\nx\r\n0\r\n\r\n"), 413),
    passed(
        "chunks up to the limit",
        chunks((b"2710\r\n" + b"x" * 10_000 + b"\r\n") * 10 + b"0\r\n\r\n"),
        Seen("POST /p HTTP/1.1", body=b"x" * MAX_BODY),
    ),
    passed(
        "a length up to the limit",
        post(b"Content-Length: 100000", body=b"x" * MAX_BODY),
        Seen("POST /p HTTP/1.1", body=b"x" * MAX_BODY),
    ),
]

# --- Expect, Upgrade, Connection ------------------------------------------------------------------------------------------------

EXPECTATIONS = [
    *[
        passed(named("Expect", value), post(b"Expect: " + value, b"Content-Length: 5"), BODY)
        for value in (b"100-continue", b"100-Continue", b"foo", b"100-continue, foo", b"100-continue; x", b"", b"200-ok")
    ],
    *[passed(named("Expect without a body", value), request(b"Expect: " + value)) for value in (b"100-continue", b"foo", b"")],
    passed("Expect with chunks", post(b"Expect: 100-continue", b"Transfer-Encoding: chunked", body=HELLO), BODY),
    passed(
        "Expect in HTTP/1.0",
        request(b"Expect: 100-continue", b"Content-Length: 5", line=b"POST /p HTTP/1.0", body=b"hello"),
        BODY,
        ends=True,
    ),
    passed(
        "Expect with no length", post(b"Expect: 100-continue", b"Content-Length: 0", body=b""), Seen("POST /p HTTP/1.1", body=b"")
    ),
    passed(
        "Expect and the next request", post(b"Expect: 100-continue", b"Content-Length: 5", body=b"hello" + NEXT), BODY, GET_NEXT
    ),
]

ASKED = ("Connection: upgrade", "Upgrade: websocket")
UPGRADES = [
    passed("an upgrade that is not taken", request(b"Upgrade: websocket", b"Connection: Upgrade"), Seen(fields=ASKED)),
    passed("an upgrade in a list", request(b"Upgrade: websocket", b"Connection: keep-alive, Upgrade"), Seen(fields=ASKED)),
    passed("an upgrade in capitals", request(b"UPGRADE: websocket", b"CONNECTION: UPGRADE"), Seen(fields=ASKED)),
    passed(
        "an upgrade and the next request",
        request(b"Upgrade: websocket", b"Connection: Upgrade", body=NEXT),
        Seen(fields=ASKED),
        GET_NEXT,
    ),
    passed(
        "an upgrade with a body",
        post(b"Upgrade: websocket", b"Connection: Upgrade", b"Content-Length: 5"),
        Seen("POST /p HTTP/1.1", ASKED, b"hello"),
    ),
    passed("Upgrade that Connection does not name", request(b"Upgrade: websocket")),
    passed("Upgrade with another Connection", request(b"Upgrade: websocket", b"Connection: keep-alive")),
    passed("Connection: upgrade without Upgrade", request(b"Connection: Upgrade")),
    passed("an empty Upgrade", request(b"Upgrade:", b"Connection: upgrade")),
    passed("an upgrade in HTTP/1.0", request(b"Upgrade: websocket", b"Connection: Upgrade", line=b"GET /p HTTP/1.0"), ends=True),
    passed("h2c", request(b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABkAAQAAP__")),
    passed("h2c without its settings", request(b"Upgrade: h2c", b"Connection: Upgrade")),
    passed("H2C in capitals", request(b"Upgrade: H2C", b"Connection: Upgrade")),
    passed("h2c among others", request(b"Upgrade: websocket, h2c", b"Connection: upgrade")),
    passed("h2c first among others", request(b"Upgrade: h2c,websocket", b"Connection: upgrade")),
    passed("h2c on a second line", request(b"Upgrade: websocket", b"Upgrade: h2c", b"Connection: upgrade")),
    passed("HTTP2-Settings alone", request(b"HTTP2-Settings: AAMAAABkAAQAAP__")),
    passed("an upgrade that is no token", request(b"Upgrade: web socket", b"Connection: upgrade")),
]

KNOWN = (b"X-A: 1", b"X-B: 2", b"Cookie: c=d", b"Authorization: Basic eA==", b"Content-Type: a/b")
KNOWN_SEEN = ("X-A: 1", "X-B: 2", "Cookie: c=d", "Authorization: Basic eA==", "Content-Type: a/b")


def without(*names: str) -> Seen:
    """The known fields but these."""
    return Seen(fields=tuple(field for field in KNOWN_SEEN if not field.startswith(names)) if names else KNOWN_SEEN)


CONNECTIONS = [
    *[
        passed(named("Connection:", value), request(b"Connection: " + value, *KNOWN, body=NEXT), without(), ends=True)
        for value in (
            b"close",
            b"Close",
            b"CLOSE",
            b"keep-alive, close",
            b"close, keep-alive",
            b"foo,close",
            b" close ",
            b",close,",
            b"foo\t,\tclose",
        )
    ],
    *[
        passed(named("Connection:", value), request(b"Connection: " + value, *KNOWN, body=NEXT), without(), GET_NEXT)
        for value in (
            b"keep-alive",
            b"Keep-Alive",
            b"foo",
            b"",
            b",",
            b"host",
            b"Host, Content-Length",
            b"Content-Length",
            b"Transfer-Encoding",
            b"te",
            b"cookie",
            b"Authorization",
            b"content-type",
            b"connection",
            b"upgrade",
            b"cache-control",
            b"via",
            b"x-forwarded-for",
            b"*",
            b"x a",
        )  # fmt: skip
    ],
    passed("Connection names a field", request(b"Connection: x-a", *KNOWN), without("X-A")),
    passed("Connection names two fields", request(b"Connection: X-A, X-B", *KNOWN), without("X-A", "X-B")),
    passed("Connection names a field behind it", request(*KNOWN, b"Connection: X-A"), without("X-A")),
    passed("Connection on two lines", request(b"Connection: X-A", b"Connection: X-B", *KNOWN), without("X-A", "X-B")),
    passed(
        "close on a second line", request(b"Connection: X-A", b"Connection: close", *KNOWN, body=NEXT), without("X-A"), ends=True
    ),
    passed(
        "Connection names the length",
        post(b"Connection: content-length", b"Content-Length: 5", body=b"hello" + NEXT),
        BODY,
        GET_NEXT,
    ),
    passed(
        "Connection names the coding",
        post(b"Connection: transfer-encoding", b"Transfer-Encoding: chunked", body=HELLO + NEXT),
        BODY,
        GET_NEXT,
    ),
    refused("a NUL in Connection", request(b"Connection: close\0")),
    passed("1.0 with keep-alive", request(b"Connection: keep-alive", line=b"GET /p HTTP/1.0", body=NEXT), Seen(), GET_NEXT),
    passed("1.0 without keep-alive", request(line=b"GET /p HTTP/1.0", body=NEXT), ends=True),
    passed("1.0 with both", request(b"Connection: keep-alive, close", line=b"GET /p HTTP/1.0", body=NEXT), ends=True),
    passed("1.0 with Keep-Alive alone", request(b"Keep-Alive: timeout=5", line=b"GET /p HTTP/1.0", body=NEXT), ends=True),
    passed("1.0 with Proxy-Connection", request(b"Proxy-Connection: keep-alive", line=b"GET /p HTTP/1.0", body=NEXT), ends=True),
]

ENDS_HERE = [
    passed(named("not passed on:", line), request(line, b"Z: last"), Seen(fields=("Z: last",)))
    for line in (
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"TE: trailers",
        b"TE: gzip, trailers",
        b"TE: chunked",
        b"Proxy: http://evil.example/",
        b"proxy: x",
        b"Proxy-Authorization: Basic eA==",
        b"HTTP2-Settings: x",
        b"X_FORWARDED_PROTO: https",
        b"Expect: 100-continue",
    )  # fmt: skip
]

GOES_ON = [
    passed(named("passed on:", line), request(line), Seen(fields=(line.decode("latin-1"),)))
    for line in (
        b"Via: 1.1 foo",
        b"Max-Forwards: 10",
        b"Trailer: X-T",
        b"Range: bytes=0-1",
        b'If-None-Match: "x"',
        b"If-Modified-Since: x",
        b"Authorization: x",
        b"Cookie: a=b; c",
        b"Content-Type: text/plain",
        b"Content-Encoding: gzip",
        b"Accept-Encoding: gzip, br",
        b"Accept: */*",
        b"Date: x",
        b"User-Agent: x (y; z) w/1",
        b"Referer: http://b.example/?a#b",
        b"Origin: null",
        b"Early-Data: 1",
        b"X-HTTP-Method-Override: DELETE",
        b"X-Forwarded: 1",
        b"X-Forwarded-For: 6.6.6.6",
        b"x-forwarded-for: 6.6.6.6",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: evil.example",
        b"X-Forwarded-Port: 1",
        b"X-Forwarded-Prefix: /x",
        b"X-Forwarded-Server: x",
        b"X-Real-IP: 6.6.6.6",
        b"Forwarded: for=6.6.6.6",
        b"Pragma: no-cache",
        b"Cache-Control: no-store",
        b"Upgrade-Insecure-Requests: 1",
        b"Sec-WebSocket-Key: x",
        b"DNT: 1",
        b"Priority: u=1",
    )  # fmt: skip
]

OPTIONS = b"OPTIONS /p HTTP/1.1"

HOPS = [
    *[
        passed(named("OPTIONS,", line), request(line, line=OPTIONS), Seen("OPTIONS /p HTTP/1.1", (f"Max-Forwards: {left}",)))
        for line, left in ((b"Max-Forwards: 10", 9), (b"max-forwards: 1", 0))
    ],
    Case("OPTIONS that is for us", request(b"Max-Forwards: 0", line=OPTIONS), (frozenset({200}),)),
    *[
        passed(named("OPTIONS, Max-Forwards:", value), request(line, line=OPTIONS), Seen("OPTIONS /p HTTP/1.1", (line.decode(),)))
        for value in (b"x", b"-1", b"1, 2", b"9" * 20)
        for line in (b"Max-Forwards: " + value,)
    ],
    passed("a GET with no hops left", request(b"Max-Forwards: 0"), Seen(fields=("Max-Forwards: 0",))),
]

# --- one request behind another -------------------------------------------------------------------------------------------------

OK = frozenset({200})
BAD = frozenset({400})

PIPELINES = [
    passed("two at once", request() + NEXT, Seen(), GET_NEXT),
    passed("three of three kinds", post(b"Content-Length: 5") + chunks(HELLO) + NEXT, BODY, BODY, GET_NEXT),
    passed("twenty at once", request() * 20, *[Seen()] * 20),
    passed("a HEAD first", request(line=b"HEAD /p HTTP/1.1") + NEXT, Seen("HEAD /p HTTP/1.1"), GET_NEXT, methods=("HEAD", "GET")),
    passed("an empty line between", request() + b"\r\n" + NEXT, Seen(), GET_NEXT),
    passed("two empty lines between", request() + b"\r\n\r\n" + NEXT, Seen(), GET_NEXT),
    passed("an empty line behind a body", post(b"Content-Length: 5") + b"\r\n" + NEXT, BODY, GET_NEXT),
    passed("close on the first", request(b"Connection: close") + HIDDEN, ends=True),
    Case("a bad one second", request() + get(b"/bad\0"), (OK, BAD), (Seen(),), True, behind=HIDDEN),
    Case("a bad Host second", request() + request(host=b"Host: a@b"), (OK, BAD), (Seen(),), True, behind=HIDDEN),
    Case("a path above the root second", request() + get(b"/../x"), (OK, BAD), (Seen(),), True, behind=HIDDEN),
    Case("garbage second", request() + b"garbage\r\n\r\n", (OK, BAD), (Seen(),), True, behind=HIDDEN),
    Case(
        "a doubtful one second",
        request() + post(b"Content-Length: 15", b"Transfer-Encoding: chunked", body=HELLO),
        (OK, BAD),
        (Seen(),),
        True,
        behind=HIDDEN,
    ),
    Case("broken chunks second", request() + chunks(b"x\r\n"), (OK, BAD), (Seen(),), True, behind=HIDDEN),
    Case(
        "more than the length",
        post(b"Content-Length: 3", body=b"hello\r\n\r\n"),
        (OK, BAD),
        (Seen("POST /p HTTP/1.1", body=b"hel"),),
        True,
    ),
    Case("a length less the size", post(b"Content-Length: 5", body=b"hello\0\0\r\n\r\n"), (OK, BAD), (BODY,), True),
    refused("a bad one first", get(b"/bad\0")),
    refused("a path above the root first", get(b"/../x") + NEXT),
]

CASES = [
    *METHODS, *VERSIONS, *LINES, *TARGETS, *HOSTS, *FIELDS, *LENGTHS, *CODINGS, *CHUNKS, *BODIES, *EXPECTATIONS, *UPGRADES,
    *CONNECTIONS, *ENDS_HERE, *GOES_ON, *HOPS, *PIPELINES,
]  # fmt: skip
