"""The requests to the servers of a case: paths from its locations, and a fixed list of variations of each.

Rules:
- The list of a site depends on its file only, so that a run can be repeated and one request of it named by its number.
- Every request closes its connection, except those that ask for a protocol.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

Fields = list[tuple[str, str]]
_SOCKET = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
]

#: (method, form of the path, fields, body): `@` stands for the path, `HOST` for the site's name.
VARIATIONS: list[tuple[str, str, Fields, bytes]] = [
    ("HEAD", "@", [], b""),
    ("POST", "@", [("Content-Type", "application/x-www-form-urlencoded")], b"a=1&b=%20"),
    ("POST", "@", [("Transfer-Encoding", "chunked")], b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n"),
    ("GET", "@?a=1&b=2&c=%2F%20+d", [], b""),
    ("GET", "@", [("Cookie", "session=abc; csrftoken=d%20e; nocache=1")], b""),
    (
        "GET",
        "@",
        [("X-Forwarded-For", "203.0.113.9, 10.0.0.1"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil.test")],
        b"",
    ),
    ("GET", "@", [("X-Real-IP", "203.0.113.10"), ("X-Forwarded-Port", "444"), ("Forwarded", "for=203.0.113.9")], b""),
    ("GET", "@", _SOCKET, b""),
    ("GET", "@", [("Accept-Encoding", "gzip, deflate, br")], b""),
    ("GET", "@", [("Range", "bytes=2-5")], b""),
    ("GET", "@", [("Range", "bytes=0-1,4-5"), ("If-Range", '"e1"')], b""),
    ("GET", "@", [("If-Modified-Since", "Wed, 01 Jan 2031 00:00:00 GMT")], b""),
    ("GET", "@", [("If-None-Match", '"e1"')], b""),
    ("PUT", "@", [("Content-Type", "application/json"), ("If-Match", "*")], b'{"a": [1, 2]}'),
    ("DELETE", "@", [], b""),
    ("OPTIONS", "@", [("Origin", "https://HOST"), ("Access-Control-Request-Method", "POST")], b""),
    ("GET", "@", [("Origin", "https://other.test"), ("Referer", "http://spam.test/viagra")], b""),
    ("PATCH", "@?x", [("Expect", "100-continue")], b"x" * 3000),
    ("GET", "@", [("Host", "HOST:8081")], b""),
    ("GET", "@", [("Host", "UPPER")], b""),
    ("GET", "@", [("Host", "unknown.test")], b""),
    ("GET", "@", [("Host", "10.9.8.7")], b""),
    ("GET", "@", [("Host", "HOST.")], b""),
    ("GET", "@", [("Host", "")], b""),
    ("GET", "@", [("Host", "www.HOST")], b""),
    ("1.0", "@", [("Host", "HOST")], b""),
    ("1.0", "@?q=1", [], b""),
    ("GET", "http://HOST@?abs=1", [], b""),
    ("GET", "@", [("User-Agent", "curl/8.0"), ("Accept", "text/html,application/json;q=0.9")], b""),
    ("GET", "@", [("User-Agent", "Mozilla/5.0 (compatible; AhrefsBot/7.0)"), ("Accept-Language", "de-DE,de;q=0.9")], b""),
    ("GET", "@", [("Authorization", "Basic dXNlcjpwYXNz"), ("Cache-Control", "no-cache"), ("Pragma", "no-cache")], b""),
    ("GET", "@", [("X_Under_Score", "1"), ("X-Two", "a"), ("X-Two", "b"), ("X-Empty", "")], b""),
    ("GET", "@", [("Connection", "close, X-Hop"), ("X-Hop", "1"), ("TE", "trailers"), ("Keep-Alive", "timeout=5")], b""),
    ("GET", "@%20a%2Fb%3Fc%23d", [], b""),
    ("GET", "@../../etc/passwd", [], b""),
    ("GET", "/x/..@", [], b""),
    ("GET", "/%2e%2e@", [], b""),
    ("GET", "/.@", [], b""),
    ("GET", "/@", [], b""),
    ("GET", "@//b///c/./d/../e", [], b""),
    ("GET", "@\xc3\xa4%C3%A4%ff", [], b""),
    ("GET", "@%00x", [], b""),
    ("GET", "@%zz", [], b""),
    ("GET", "@?q=<script>alert(1)</script>", [], b""),
    ("GET", "@?q=union+select+1&p=../../etc/passwd&proc/self/environ", [], b""),
    ("GET", "@?", [], b""),
    ("GET", "@index.html", [], b""),
    ("GET", "@index.php?p=1", [], b""),
    ("GET", "@.git/config", [], b""),
    ("GET", "@a/b/app.min.js?v=3", [], b""),
    ("POST", "@", [("Content-Length", "0")], b""),
    ("TRACE", "@", [], b""),
    ("PROPFIND", "@", [("Depth", "1")], b""),
    ("get", "@", [], b""),
    ("GET", "@#frag", [], b""),
    ("GET", "@", [("X-Long", "y" * 3000)], b""),
    ("POST", "@", [("Content-Type", "text/plain")], b"z" * 20000),
]


@dataclass
class Request:
    """One request as bytes, with its method for the reading of the response and the name for TLS."""

    data: bytes
    method: str
    name: str

    @property
    def head(self) -> str:
        """The head up to the empty line, with the CRLF of its last line."""
        return self.data.partition(b"\r\n\r\n")[0].decode("latin-1") + "\r\n"

    @property
    def target(self) -> str:
        return self.head.partition("\r\n")[0].partition(" ")[2].rpartition(" ")[0]

    def __str__(self) -> str:
        lines = self.data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        return " | ".join(line if len(line) < 120 else f"{line[:100]}…" for line in lines if line != "Connection: close")


def requests_of(names: list[str], locations: list[list[str]], count: int) -> list[Request]:
    """Return `count` requests to a site: each path plainly first, then the variations in turn."""
    host = next(filter(None, map(_plain_name, names)), "localhost")
    paths = list(_paths(locations))
    hosts = list(dict.fromkeys(filter(None, map(_plain_name, names)))) or [host]
    plain = [_request("GET", path, [], b"", hosts[at % len(hosts)]) for at, path in enumerate(paths)]
    made = plain[: count // 2]
    at = 0
    # Both lists are walked with steps that have no common divisor, so that the pairs differ from round to round.
    while len(made) < count:
        method, form, fields, body = VARIATIONS[at % len(VARIATIONS)]
        made.append(_request(method, form.replace("@", paths[(at + at // len(VARIATIONS)) % len(paths)]), fields, body, host))
        at += 1
    return made


def _request(method: str, target: str, fields: Fields, body: bytes, host: str) -> Request:
    version = "1.1"
    if method == "1.0":
        method, version = "GET", "1.0"
    lines = [f"{method} {target.replace('HOST', host)} HTTP/{version}"]
    names = [name for name, _ in fields]
    if "Host" not in names and version == "1.1":
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value.replace('HOST', host).replace('UPPER', host.upper())}" for name, value in fields]
    if body and "Transfer-Encoding" not in names:
        lines.append(f"Content-Length: {len(body)}")
    if "Connection" not in names:
        lines.append("Connection: close")
    return Request("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body, method, host)


def _plain_name(name: str) -> str:
    """Return a host that a `server_name` matches, empty if none is easily made."""
    if name.startswith("~"):
        return _example(name[1:]).lower()
    name = re.sub(r"^\*\.", "a.", name)
    name = re.sub(r"\.\*$", ".test", name).lstrip(".")
    return name if re.fullmatch(r"[\w.-]+", name) and name != "_" else ""


def _paths(locations: list[list[str]]) -> Iterator[str]:
    """Yield paths that the locations match, and neighbours of them, none twice."""
    seen = set()
    for path in ["/", *_raw_paths(locations), "/nothing/here.txt", "/favicon.ico", "/a/style.css", "/index.html"]:
        path = re.sub(r"[\s#?]", "", path)
        if path.startswith("/") and path not in seen:
            seen.add(path)
            yield path


def _raw_paths(locations: list[list[str]]) -> Iterator[str]:
    for words in locations:
        if words[0] in ("~", "~*") and len(words) > 1:
            path = _example(words[1])
            yield path if path.startswith("/") else f"/a{path}"
        elif not words[-1].startswith("@"):
            path = words[-1]
            yield path
            if words[0] != "=":
                yield path.rstrip("/") if path.endswith("/") else f"{path}x"
                yield f"{path}{'' if path.endswith('/') else '/'}a/b.css"


def _example(pattern: str) -> str:
    """Return a text that a regular expression matches, empty if the simple replacements below do not lead to one."""
    text = re.sub(r"\(\?(?:P?<\w+>|:)", "(", pattern)
    text = text.replace("\\.", "\0").replace("\\/", "/").replace("\\d", "1").replace("\\w", "w").replace("\\-", "-")
    text = re.sub(r"\[\^[^]]*\]", "x", text)
    text = re.sub(r"\[(\\?)([^]])[^]]*\]", lambda found: found[2], text)
    for _ in range(8):
        text = re.sub(r"\(([^()|]*)(?:\|[^()]*)?\)", lambda found: found[1], text)
    text = re.sub(r"\{\d+(?:,\d*)?\}", "", text)
    text = re.sub(r"\.[*+]\??", "x", text).replace("^", "").replace("$", "")
    text = re.sub(r"[*+?]", "", text).replace("\0", ".").replace("\\", "")
    for made in (text, f"/a{text}", f"/{text}"):
        try:
            if re.search(pattern.replace("(?<", "(?P<"), made):
                return made
        except re.error:
            return ""
    return ""
