"""Werkzeug's ProxyMiddleware beside ours: the same mapping, the same requests, a recording upstream.

Each case names the facets in which the two differ on purpose, with both values; all other facets are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from werkzeug.middleware.http_proxy import ProxyMiddleware as Theirs
from werkzeug.test import EnvironBuilder, run_wsgi_app

from tests.support import Recorded, Recorder, Wire, chunked, reply
from wsgi_proxy import ProxyMiddleware

# Werkzeug leaves its upstream connections to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed:ResourceWarning")
PREFIX = "/legacy/"
Facets = dict[str, Any]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


def mine(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"mine"]


@dataclass
class Case:
    """A request and the options of its prefix; `differs` is what differs: facet → (Werkzeug's, ours)."""

    options: dict[str, Any] = field(default_factory=dict)
    method: str = "GET"
    target: str = "/legacy/a?b=c"
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    chunked: bool = False
    response: bytes = reply(b"hello", headers=[("X-A", "1")])
    differs: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    base: str = ""


INVENTED = ("accept-encoding", "identity")
"""Fields that http.client, which Werkzeug uses, adds: no client sent them, and no case does."""
CASES: dict[str, Case] = {
    "get": Case(),
    "root": Case(target="/legacy/"),
    "remove_prefix": Case({"remove_prefix": True}),
    "remove_prefix_root": Case({"remove_prefix": True}, target="/legacy/"),
    "remove_prefix_base": Case({"remove_prefix": True}, base="/base/"),
    "base": Case(base="/base", differs={"target": ("/legacy/a?b=c", "/base/legacy/a?b=c")}),
    "host_client": Case({"host": None}, fields=[("Host", "client.example:81")]),
    "host_fixed": Case({"host": "fixed.example"}),
    "headers": Case({"headers": {"X-Token": "t"}}),
    "headers_client_too": Case(
        {"headers": {"X-Token": "ours"}},
        fields=[("X-Token", "client's")],
        differs={"fields": ([("x-token", "client's"), ("x-token", "ours")], [("x-token", "ours")])},
    ),
    "host_in_headers": Case({"headers": {"host": "ours"}}, differs={"host": (["127.0.0.1", "ours"], ["ours"])}),
    "not_covered": Case(target="/other"),
    "prefix_without_slash": Case(target="/legacy"),
    "prefix_of_a_word": Case(target="/legacyx"),
    "dots": Case(target="/legacy/../x", differs={"covered": (True, False)}),
    "dots_encoded": Case(target="/legacy/%2e%2e/x", differs={"covered": (True, False)}),
    "dots_within": Case(target="/legacy/y/../x"),
    "dots_into": Case(target="/y/../legacy/x", differs={"covered": (False, True)}),
    "slashes": Case(target="/legacy/x//y"),
    "slashes_first": Case({"remove_prefix": True}, target="/legacy//x"),
    "url_in_path": Case({"remove_prefix": True}, target="/legacy/https://example.org/x"),
    "space": Case(target="/legacy/a%20b"),
    "slash_encoded": Case(target="/legacy/a%2Fb", differs={"target": ("/legacy/a/b", "/legacy/a%2Fb")}),
    "slash_encoded_removed": Case({"remove_prefix": True}, target="/legacy/a%2Fb", differs={"target": ("/a/b", "/a%2Fb")}),
    "percent": Case(target="/legacy/%2541", differs={"target": ("/legacy/%41", "/legacy/%2541")}),
    "percent_removed": Case({"remove_prefix": True}, target="/legacy/%2541", differs={"target": ("/%41", "/%2541")}),
    "utf8": Case(target="/legacy/b%C3%BCcher", differs={"target": ("/legacy/b%C3%83%C2%BCcher", "/legacy/b%C3%BCcher")}),
    "reserved": Case(target="/legacy/a;b=c,d:e@f!g$h&i'j(k)l*m+n~o"),
    "reserved_removed": Case({"remove_prefix": True}, target="/legacy/a;b=c,d:e@f!g$h&i'j(k)l*m+n~o"),
    "query": Case(target="/legacy/?a=%2F&b=+&a=%zz"),
    "post": Case(method="POST", body=b"x=1", fields=[("Content-Type", "application/x-www-form-urlencoded")]),
    "post_empty": Case(method="POST", fields=[("Content-Length", "0")]),
    # Werkzeug's ends no chunked body: the upstream waits for the rest, and its answer never comes.
    "put_large": Case(method="PUT", body=b"x" * 300_000),
    "delete": Case(method="DELETE"),
    "options": Case(method="OPTIONS"),
    "propfind": Case(method="PROPFIND"),
    "head": Case(method="HEAD", response=reply(b"", headers=[("X-A", "1")], length=5)),
    "cookies": Case(fields=[("Cookie", "a=1; b=2"), ("Authorization", "Bearer x"), ("Accept-Language", "de")]),
    "hop_by_hop": Case(
        fields=[("Connection", "X-Hop, close"), ("X-Hop", "1"), ("TE", "trailers"), ("Keep-Alive", "5")],
        differs={"fields": ([("x-hop", "1")], [])},
    ),
    "set_cookie": Case(response=reply(b"hello", headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-A", "1")])),
    "redirect": Case(response=reply(b"", 302, [("Location", "http://elsewhere/x")])),
    "not_modified": Case(response=reply(b"", 304, [("ETag", '"x"')], length=None)),
    "no_content": Case(method="DELETE", response=reply(b"", 204, length=None)),
    "error": Case(response=reply(b"oops", 500)),
    "reason": Case(response=reply(b"x", "299 Very Odd")),
    "chunked_answer": Case(response=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"one", b"two")),
    "gzip": Case(response=reply(b"\x1f\x8bnot really", headers=[("Content-Encoding", "gzip")])),
    "date_and_server": Case(response=reply(b"x", headers=[("Date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("Server", "theirs")])),
}
#: Fields that the proxy sets (tests/wsgi/test_middleware.py) or the connection needs: compared by other facets, or not at all.
_LEFT_OUT = {"host", "connection", "content-length", "transfer-encoding"} | {
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
}


def environ_of(case: Case) -> dict[str, Any]:
    path, _, query = case.target.partition("?")
    environ = EnvironBuilder(path, method=case.method, query_string=query, headers=case.fields).get_environ()
    environ["PATH_INFO"] = unquoted(path)
    environ["RAW_URI"] = case.target
    environ["QUERY_STRING"] = query
    environ["REMOTE_ADDR"] = "127.0.0.1"
    environ["wsgi.input"] = BytesIO(case.body)
    if case.chunked:
        environ.update({"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True, "CONTENT_LENGTH": ""})
    elif case.body:
        environ["CONTENT_LENGTH"] = str(len(case.body))
    return environ


def unquoted(path: str) -> str:
    return unquote_to_bytes(path).decode("latin-1")


def facets(app: Any, case: Case, upstream: Recorder) -> Facets:
    """The upstream's request and the client's response."""
    upstream.requests.clear()

    def script(request: Recorded, wire: Wire) -> bytes | None:
        if not case.response:
            wire.close()
            return None
        return case.response

    upstream.response = script
    content, status, headers = run_wsgi_app(app, environ_of(case), buffered=True)
    found: Facets = {"status": status, "content": b"".join(content)}
    found["answer"] = sorted((name.lower(), value) for name, value in headers)
    found["covered"] = bool(upstream.requests)
    if upstream.requests:
        request = upstream.requests[0]
        found |= {"method": request.method, "target": request.target, "body": request.body, "host": request.get_all("Host")}
        found["fields"] = sorted((name.lower(), value) for name, value in request.headers if name.lower() not in _LEFT_OUT)
        if INVENTED in found["fields"]:
            found["fields"].remove(INVENTED)
        found["framing"] = (request.get_all("Content-Length"), request.get_all("Transfer-Encoding"))
    return found


@pytest.mark.parametrize("name", CASES)
def test_both_do_the_same_but_for_what_differs_on_purpose(name: str, upstream: Recorder) -> None:
    case = CASES[name]
    mapping = {PREFIX: {"target": upstream.url + case.base, **case.options}}
    ours = ProxyMiddleware(mine, mapping)  # type: ignore[arg-type]
    try:
        got = facets(ours, case, upstream)
    finally:
        ours.close()
    wanted = facets(Theirs(mine, {PREFIX: dict(mapping[PREFIX])}), case, upstream)
    assert differences(wanted, got) == {key: (theirs, ours) for key, (theirs, ours) in expected(case, upstream).items()}


def differences(theirs: Facets, ours: Facets) -> dict[str, tuple[Any, Any]]:
    """The facets that differ; where only one covers the request, that alone says it all."""
    if theirs["covered"] != ours["covered"]:
        return {"covered": (theirs["covered"], ours["covered"])}
    return {key: (theirs[key], ours[key]) for key in theirs if theirs[key] != ours[key]}


def expected(case: Case, upstream: Recorder) -> dict[str, tuple[Any, Any]]:
    """Return the intended differences: the case's own, and the port in Host that Werkzeug's leaves out."""
    if "host" in case.options or "host" in case.differs or not case.target.startswith(PREFIX) or "covered" in case.differs:
        return case.differs
    return {"host": ([upstream.host], [upstream.address]), **case.differs}


def test_a_chunked_body_arrives_whole(upstream: Recorder) -> None:
    ours = ProxyMiddleware(mine, {PREFIX: upstream.url})
    got = facets(ours, Case(method="POST", body=b"hello", chunked=True), upstream)
    ours.close()
    assert (got["status"], got["body"], got["framing"]) == ("200 Scripted", b"hello", ([], ["chunked"]))


def test_an_upstream_that_does_not_answer_is_a_502_of_both(upstream: Recorder) -> None:
    ours = ProxyMiddleware(mine, {PREFIX: upstream.url})
    case = Case(response=b"")
    found = [facets(app, case, upstream)["status"].lower() for app in (ours, Theirs(mine, {PREFIX: {"target": upstream.url}}))]
    ours.close()
    assert found == ["502 bad gateway"] * 2
