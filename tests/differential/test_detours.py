"""Internal redirects, beside nginx: their bodies, the servers chosen, the fields kept.

Rules:
- Both run the same file in front of the same upstream, which responds with the request that it received.
- Where nginx itself loses a body (`proxy_request_buffering off`), the expectation is written here instead.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

import pytest

from tests.support import Recorder, free_port, request_bytes, run_nginx, run_proxy
from tests.support.client import Response
from tests.support.comparison import Comparison, response_to
from tests.support.detours import FIELDS, body_of, conf, response

SIZES = (0, 1, 16 * 1024, 1024 * 1024)
COMPARED = """
content-type content-disposition set-cookie cache-control expires accept-ranges content-language content-encoding etag location
refresh www-authenticate vary link x-app content-range x-tries content-length
""".split()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comparison]:
    folder = tmp_path_factory.mktemp("detours")
    (folder / "root" / "text").mkdir(parents=True)
    for name, text in (("a.txt", "file"), ("q?m.txt", "asked"), ("p%41.txt", "percent"), ("none", "no type")):
        (folder / "root" / "text" / name).write_text(text)
    theirs, ours, dead = free_port(), free_port(), free_port()
    with (
        Recorder(response, read_body=False) as up,
        Recorder(response, read_body=False) as other,
        run_nginx(conf(theirs, up, other, dead, folder), folder) as nginx,
        run_proxy(conf(ours, up, other, dead, folder), folder) as proxy,
    ):
        yield Comparison(theirs, ours, (nginx, proxy))


def shown(response: Response) -> dict[str, object]:
    """Return the parts of a response that are compared."""
    fields = {name: values for name in COMPARED if (values := response.get_all(name))}
    if "location" in fields:
        fields["location"] = [re.sub(r":\d+/", "/", value) for value in fields["location"]]
    body = response.body
    if body.startswith(b"<html>") or (response.status >= 300 and not body):
        # This proxy's page names another server.
        body = body.partition(b"<hr>")[0]
        fields.pop("content-length", None)
    return {"status": response.status, "body": body, "complete": response.complete, "fields": fields}


def repaired(theirs: dict[str, object], target: str) -> dict[str, object]:
    """Return nginx's response without the parts that this proxy does not imitate: fields repeated that may be sent once, the
    charset of one Content-Type in another's, and fields that `proxy_hide_header` names."""
    fields: dict[str, list[str]] = theirs["fields"]  # type: ignore[assignment]
    for name in ("content-disposition", "expires", "accept-ranges"):
        if name in fields:
            del fields[name][1:]
    if fields.get("content-type", [""])[0].startswith("text/html") or target.endswith(("/proxied/plain", "/proxied/hidden")):
        fields["content-type"] = [fields["content-type"][0].partition(";")[0]]
    if target.startswith("/hide/"):
        fields.pop("set-cookie", None)
        fields.pop("cache-control", None)
    return theirs


def post(target: str, size: int, framing: str, method: str = "POST") -> bytes:
    """A request with a body of that size."""
    body = body_of(size)
    if framing == "length":
        head, data = f"Content-Length: {size}", body
    else:
        head = "Transfer-Encoding: chunked"
        pieces = [body[at : at + 50_000] for at in range(0, size, 50_000)]
        data = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return f"{method} {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{head}\r\n\r\n".encode() + data


BODIES = """
/dead/named /dead/uri /dead/status /dead/streamed /dead/twice /intercepted/named /intercepted/uri /intercepted/early /closed
/accel/uri /accel/named /accel/failing /accel/twice /auth /denied /set/first /set/then /dropped/first /dropped/then /tried
""".split()
STREAMED = "/streamed/named /streamed/both /streamed/intercepted /streamed/early".split()


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("target", BODIES)
def test_the_body_goes_where_the_request_goes(both: Comparison, target: str, framing: str) -> None:
    for size in SIZES:
        theirs, ours = both.send(post(target, size, framing), "POST")
        assert shown(ours) == shown(theirs), size


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("target", STREAMED)
def test_a_streamed_body_arrives_whole_or_the_request_fails(both: Comparison, target: str, framing: str) -> None:
    """nginx announces the whole length here, and sends the rest of the body."""
    for size in SIZES:
        ours = response_to(both.ours, post(target, size, framing), "POST")
        told = hashlib.sha1(body_of(size)).hexdigest().encode()
        if size == SIZES[-1] and target in ("/streamed/intercepted", "/streamed/early") and ours.status != 200:
            assert ours.status == 502
        else:
            assert (ours.status, ours.body.split()[-2:]) == (200, [b"%d" % size, told])


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("target", ["/limited", "/limited/uri"])
def test_a_body_that_was_refused_goes_nowhere(both: Comparison, target: str, framing: str) -> None:
    """With 1 MB under a length nginx announces a body to the page's upstream, and has none to send. Its GET for a page has a
    Content-Length of 0, which this proxy leaves out."""
    for size in SIZES:
        ours = response_to(both.ours, post(target, size, framing), "POST")
        refused = size > 1024
        if (size, framing) != (SIZES[-1], "length"):
            theirs = response_to(both.theirs, post(target, size, framing), "POST")
            if refused and target == "/limited/uri":
                theirs.body = theirs.body.replace(b"['Content-Length=0']", b"[]")
                assert (ours.status, ours.body) == (theirs.status, theirs.body)
            else:
                assert shown(ours) == shown(theirs)
        if refused:
            assert ours.body.split()[2:-1] == [b"[]" if target == "/limited/uri" else b"['Content-Length=0']", b"0"]


PLACES = "/pair/named /pair/next /pair/accel /spare/named /spare/next /half/named".split()


@pytest.mark.parametrize("target", PLACES)
def test_a_redirect_within_asks_every_server_again(both: Comparison, target: str) -> None:
    for _ in range(4):
        theirs, ours = both.send(request_bytes(target, close=True), "GET")
        assert shown(ours) == shown(theirs)


ACCELERATED = [
    *(f"/app/with/{name}/200?/{place}" for name in FIELDS for place in (
        "text/a.txt", "text/none", "text/missing", "expiring/a.txt", "proxied/plain", "proxied/all", "proxied/hidden",
        "returned/", "refused/", "leading/",
    )),
    *(f"/{place}/with/{name}/200?/text/a.txt" for place in ("hide", "cookie") for name in ("hidden", "all")),
    *(f"/{place}/with/all/{status}?/text/a.txt" for place in ("app", "judged") for status in (201, 404, 500)),
    *(f"/app/with/plain/200?{where}" for where in (
        "/text/q%3Fm.txt", "/text/p%2541.txt", "/text/a.txt%3F", "/text/a.txt?", "/text/a.txt?a=%3F?b", "/text/%2e%2e/a.txt",
        "/text/../text/a.txt", "/text/a%00.txt", "/text/x/../a.txt", "/text/..", "/text/...", "/text/..%2fa", "/text//a.txt",
        "/text/a.txt%23", "/up/a%20b%3Fc?d%20e", "/up/..", "", "?a=b", "text/a.txt", "@up", "@none", "/", "%2Ftext/a.txt",
        "/text/%zz", "/text/%4",
    )),
]  # fmt: skip


@pytest.mark.parametrize("target", ACCELERATED)
def test_what_an_accelerated_answer_keeps(both: Comparison, target: str) -> None:
    for method, more in (("GET", []), ("HEAD", []), ("GET", [("Range", "bytes=1-2")])):
        theirs, ours = both.send(request_bytes(target, method, more, close=True), method)
        assert shown(ours) == repaired(shown(theirs), target), (method, more)
