"""RFC 9111 row by row, on the wire, with two workers.

A row is a sentence and its steps; a step is a request, the origin's response if it is asked, and the expected result:
`hit` (the origin was not asked), `miss` (it was), `valid` (it was asked with a condition), a status, or fields. All rows
run at once, each on its own path, since most of their time is waiting.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from tests.support import Recorder, fetch, free_port, reply, run_proxy
from wsgi_proxy.http.dates import format_date

CONF = """
worker_processes 2;
events {{}}
http {{
    proxy_cache_path cache keys_zone=z:10m;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{upstream}; proxy_set_header Host $http_host; proxy_cache z;
            proxy_cache_convert_head off; }}
    }}
}}
"""
NOW = int(time.time())


@dataclass
class Step:
    """One request. `after` is a pause before it, in seconds."""

    expect: str
    response: list[tuple[str, str]] = field(default_factory=list)
    status: int = 200
    request: list[tuple[str, str]] = field(default_factory=list)
    method: str = "GET"
    after: float = 0.0
    delay: float = 0.0
    body: bytes | None = None
    path: str = ""
    got: int | None = None
    fields: dict[str, str | None] = field(default_factory=dict)


def first(*response, **keys):
    return Step("miss", list(response), **keys)


def hit(*request, **keys):
    return Step("hit", request=list(request), **keys)


def miss(*request, response=(), **keys):
    return Step("miss", list(response), request=list(request), **keys)


def cc(value):
    return ("Cache-Control", value)


def date(offset=0):
    return format_date(int(time.time()) + offset)


DAY = cc("max-age=86400")
TAG = ("ETag", '"a"')
PARTS = ("Accept-Ranges", "bytes")
ROWS: dict[str, list[Step]] = {}


def row(sentence, *steps):
    assert sentence not in ROWS
    ROWS[sentence] = list(steps)


# Section 4.2.1, lifetimes; 5.3 Expires
for name, value in {
    "rfc 850": "Thursday, 18-Aug-50 02:01:18 GMT",
    "asctime": "Thu Aug 18 02:01:18 2050",
    "lower case": "thu, 18 aug 2050 02:01:18 gmt",
    "fixdate": "Thu, 18 Aug 2050 02:01:18 GMT",
}.items():
    row(f"Expires as {name} counts", first(("Expires", value)), hit())
for value in [
    "0",
    "foo",
    "Thu, 18 Aug 2050 02:01:18",
    "Thu, 18 Aug 2050 02:01:18 AEST",
    "Thu, 18 Aug 50 02:01:18 GMT",
    "Thu 18 Aug 2050 02:01:18 GMT",
]:
    row(f"Expires {value!r} is the past", first(("Expires", value), TAG), Step("valid", [TAG]))
row("max-age is stronger than Expires", first(DAY, ("Expires", "0")), hit())
row("s-maxage is stronger than max-age", first(cc("max-age=0, s-maxage=1000")), hit())
row("s-maxage=0 is stronger than max-age", first(cc("max-age=1000, s-maxage=0")), miss())
row("a quoted max-age counts", first(cc('max-age="86400"')), hit())
row("directives have no case", first(cc("MaX-aGe=86400")), hit())
row("an extension does not hide max-age", first(cc("foobar, max-age=86400")), hit())
row("a quoted comma does not split", first(cc('a="b, no-store, c", max-age=86400')), hit())
row("a directive in quotes is none", first(cc('a="max-age=86400"')), miss())
row("a huge max-age counts", first(cc("max-age=99999999999")), hit())
row("a negative max-age is stale", first(cc("max-age=-1")), miss())
row("a fraction is stale", first(cc("max-age=3600.5")), miss())
row("max-age expires", first(cc("max-age=4")), hit(), miss(after=5))
row("Age counts", first(DAY, ("Age", "86400")), miss())
row("the wait for the answer counts", first(cc("max-age=2"), delay=1.2), miss(after=1.2))
row("the heuristic needs a status it may be used for", first(("Last-Modified", date(-86400)), status=201), miss())
row("the heuristic uses Last-Modified", first(("Last-Modified", date(-86400))), hit())
row("nothing at all is not fresh", first(), miss())
row("Date that is old ages", first(("Date", date(-100)), cc("max-age=50")), miss())
row("Pragma in an answer means nothing", first(DAY, ("Pragma", "no-cache")), hit())
for status in [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 451, 499, 500, 502, 503, 504, 599]:
    row(f"{status} is stored when told so", first(DAY, status=status, got=status), hit(got=status))
row("599 is not stored when it must be understood", first(cc("max-age=100, must-understand"), status=599), miss())
row("200 is stored for who understands", first(cc("max-age=100, no-store, must-understand")), hit())

# Section 5.2.2, directives of answers
for value in [
    "no-store",
    "no-store, max-age=100",
    "NO-STORE, max-age=100",
    "private, max-age=100",
    "private=, max-age=1",
    "no-cache, max-age=9",
]:
    row(f"{value!r} is not reused", first(cc(value)), miss())
row("private fields are not shared", first(cc('max-age=100, private="x-mine"'), ("X-Mine", "1")), hit(fields={"x-mine": None}))
row("no-cache fields are left out", first(cc('max-age=100, no-cache="x-mine"'), ("X-Mine", "1")), hit(fields={"x-mine": None}))
row("no-cache is validated", first(cc("no-cache"), TAG), Step("valid", [TAG], got=200))
row("must-revalidate is fresh first", first(cc("max-age=100, must-revalidate")), hit())
row("must-revalidate is never stale", first(cc("max-age=1, must-revalidate")), miss(cc("max-stale"), after=2))
row("Set-Cookie is not shared", first(DAY, ("Set-Cookie", "a=b")), miss())

# RFC 9213
CDN = "CDN-Cache-Control"
row("a targeted field is stronger", first(cc("no-store"), (CDN, "max-age=100")), hit())
row("a targeted no-store is stronger", first(DAY, (CDN, "no-store")), miss())
row("a targeted private is stronger", first(DAY, (CDN, "private")), miss())
row("a targeted field with parameters", first(cc("no-store"), (CDN, "max-age=100;a=b")), hit())
row("a broken targeted field counts as none", first(DAY, (CDN, "max-age=0,,")), hit())
row("a targeted max-age=0", first(DAY, (CDN, "max-age=0")), miss())

# Section 3.5
AUTH = ("Authorization", "x")
row("authorized answers are not shared", first(DAY, request=[AUTH]), miss(AUTH, response=[DAY]))
for value in ["public", "must-revalidate", "s-maxage=100"]:
    row(f"unless {value}", first(cc(f"max-age=100, {value}"), request=[AUTH]), hit())

# Section 4.1
row("Vary matches", first(DAY, ("Vary", "Foo"), request=[("Foo", "1")]), hit(("Foo", "1")))
row("Vary does not match", first(DAY, ("Vary", "Foo"), request=[("Foo", "1")]), miss(("Foo", "2")))
row("Vary: absent and present differ", first(DAY, ("Vary", "Foo")), miss(("Foo", "2")))
row("Vary *", first(DAY, ("Vary", "*")), miss())
row("Vary: Foo, *", first(DAY, ("Vary", "Foo, *")), miss())
row("Vary: *, Foo", first(DAY, ("Vary", "*, Foo")), miss())
row("Vary over two lines", first(DAY, ("Vary", "Foo"), ("Vary", "Bar"), request=[("Bar", "1")]), miss(("Bar", "2")))
row(
    "variants are kept",
    first(DAY, ("Vary", "Foo"), request=[("Foo", "1")]),
    miss(("Foo", "2"), response=[DAY, ("Vary", "Foo")]),
    hit(("Foo", "1")),
    hit(("Foo", "2")),
)

# Section 4.3
row("validated by tag", first(cc("max-age=1"), TAG), Step("valid", [TAG, cc("max-age=100")], 304, after=2, got=200), hit())
row(
    "validated by date",
    first(cc("max-age=1"), ("Last-Modified", date(-1000))),
    Step("valid", [cc("max-age=100")], 304, after=2, got=200),
    hit(),
)
row(
    "a 304 updates fields",
    first(cc("max-age=1"), TAG, ("X-A", "1"), ("X-B", "1")),
    Step("valid", [TAG, cc("max-age=100"), ("X-A", "2")], 304, after=2, got=200, fields={"x-a": "2", "x-b": "1"}),
    hit(fields={"x-a": "2", "x-b": "1"}),
)
row(
    "a 304 does not update Content-Length",
    first(cc("max-age=1"), TAG),
    Step("valid", [TAG, cc("max-age=100"), ("Content-Length", "36")], 304, after=2, got=200),
    hit(fields={"content-length": "6"}),
)
for tag in ['"a"', 'W/"a"', '"x", "a"', "*"]:
    row(f"If-None-Match {tag} is answered", first(DAY, TAG), hit(("If-None-Match", tag), got=304, fields={"etag": '"a"'}))
row("another tag gets all", first(DAY, TAG), hit(("If-None-Match", '"b"'), got=200))
row("a weak tag matches", first(DAY, ("ETag", 'W/"a"')), hit(("If-None-Match", '"a"'), got=304))
row("If-Modified-Since is answered", first(DAY, ("Last-Modified", date(-9))), hit(("If-Modified-Since", date(-5)), got=304))
row("If-Modified-Since by Date", first(DAY, ("Date", date())), hit(("If-Modified-Since", date(5)), got=304))
row(
    "tags go before dates",
    first(DAY, TAG, ("Last-Modified", date(-9))),
    hit(("If-None-Match", '"b"'), ("If-Modified-Since", date()), got=200),
)
row("a range of what is stored", first(DAY, PARTS), hit(("Range", "bytes=1-2"), got=206, fields={"content-range": "bytes 1-2/6"}))
row("a range without Accept-Ranges", first(DAY), hit(("Range", "bytes=1-2"), got=206, fields={"content-range": "bytes 1-2/6"}))
row("a range beyond", first(DAY, PARTS), hit(("Range", "bytes=99-"), got=416))
row("a HEAD of what is stored", first(DAY), hit(method="HEAD"))
row(
    "HEAD updates",
    first(cc("max-age=1"), TAG, ("X-A", "1")),
    miss(method="HEAD", after=2, response=[cc("max-age=100"), TAG, ("X-A", "2")]),
    hit(fields={"x-a": "2"}),
)
row(
    "HEAD ends",
    first(cc("max-age=1"), TAG),
    miss(method="HEAD", after=2, response=[DAY, ("ETag", '"b"')]),
    miss(),
)

# Section 4.4
for method in ["POST", "PUT", "DELETE", "M-SEARCH"]:
    row(f"{method} invalidates", first(DAY), miss(method=method), miss())
    row(f"{method} that fails does not", first(DAY), miss(method=method, status=500), hit())
    for name in ["Location", "Content-Location"]:
        row(f"{method} invalidates {name}", first(DAY), miss(method=method, path="/other", response=[(name, "{path}")]), miss())
        row(
            f"{method} does not invalidate {name} elsewhere",
            first(DAY),
            miss(method=method, path="/other", response=[(name, "http://elsewhere.test{path}")]),
            hit(),
        )

# Section 5.2.1
row("a request's max-age=0", first(DAY), miss(cc("max-age=0"), after=1.1))
row("a request's no-cache", first(DAY), miss(cc("no-cache")))
row("a request's min-fresh", first(cc("max-age=100")), miss(cc("min-fresh=200")))
row("a request's max-stale", first(cc("max-age=1")), hit(cc("max-stale=100"), after=2))
row("only-if-cached", hit(cc("only-if-cached"), got=504))

# Section 3.1
UNSTORED = ["Proxy-Authenticate", "Proxy-Authentication-Info", "Keep-Alive", "Upgrade", "Proxy-Connection", "TE"]
row(
    "fields of a connection are not stored",
    first(DAY, *((name, "a") for name in UNSTORED)),
    hit(fields=dict.fromkeys(map(str.lower, UNSTORED))),
)
row("fields that Connection names are not stored", first(DAY, ("Connection", "x-a"), ("X-A", "1")), hit(fields={"x-a": None}))
row(
    "all others are",
    first(DAY, ("X-A", "1"), ("X-A", "2"), ("Content-Foo", "3")),
    hit(fields={"x-a": "1, 2", "content-foo": "3"}),
)
row("the query is part of the key", first(DAY), miss(path="?x", response=[DAY]), hit(), hit(path="?x"))

# RFC 5861
row("stale while it is updated", first(cc("max-age=1, stale-while-revalidate=100")), Step("stale", [DAY], after=2), hit(after=4))
row("stale if there is an error", first(cc("max-age=1, stale-if-error=100")), Step("stale", [], 503, after=2, got=200))
row("no stale without leave", first(cc("max-age=1")), miss(status=503, after=2, got=503))


class Origin:
    """Answers each row's step by the number that the request carries."""

    def __init__(self):
        self.asked: dict[tuple[str, int], dict[str, str]] = {}

    def __call__(self, request, wire):
        number, at = request.get("Row"), int(request.get("Step"))
        steps = list(ROWS.values())[int(number)]
        step = steps[at]
        self.asked[number, at] = {name.lower(): value for name, value in request.headers}
        time.sleep(step.delay)
        fields = [(name, value.format(path=f"/row{number}") if "{path}" in value else value) for name, value in step.response]
        body = b"step %d" % at
        status = step.status
        if status in (204, 304):
            return reply(b"", status, [*fields, ("Step", str(at))], length=None)
        return reply(b"" if request.method == "HEAD" else body, status, [*fields, ("Step", str(at))], length=len(body))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    origin, port = Origin(), free_port()
    with Recorder(origin) as recorder:
        conf = CONF.format(port=port, upstream=recorder.port)
        with run_proxy(conf, tmp_path_factory.mktemp("rfc")), ThreadPoolExecutor(24) as pool:
            found = pool.map(lambda number: _run(port, origin, number), range(len(ROWS)))
            yield dict(zip(ROWS, found, strict=True))


def _run(port, origin, number):
    """The first fault of a row, or None."""
    steps = list(ROWS.values())[number]
    for at, step in enumerate(steps):
        time.sleep(step.after)
        base = f"/row{number}"
        path = step.path if step.path.startswith("/") else base + step.path
        headers = [("Host", f"row{number}.test"), ("Row", str(number)), ("Step", str(at)), *step.request]
        got = fetch(port, path, method=step.method, headers=headers)
        asked = origin.asked.get((str(number), at))
        if step.expect == "stale":
            if got.get("Step") != str(at - 1) and got.text != f"step {at - 1}":
                return f"step {at} is not the stale answer: {got.raw!r}"
        elif (asked is None) != (step.expect == "hit"):
            return f"step {at}: {step.expect} expected, the origin was {'not ' if asked is None else ''}asked: {got.raw!r}"
        if step.expect == "valid" and not {"if-none-match", "if-modified-since"} & set(asked or ()):
            return f"step {at} has no condition: {asked}"
        if step.got is not None and got.status != step.got:
            return f"step {at} has status {got.status}, not {step.got}"
        if step.expect == "hit" and got.status != 504 and got.get("Age") is None:
            return f"step {at} has no Age: {got.raw!r}"
        if got.get("Warning") is not None:
            return f"step {at} has a Warning"
        for name, value in step.fields.items():
            values = ", ".join(got.get_all(name)) or None
            if values != value:
                return f"step {at} has {name}: {values}, not {value}"
    return None


@pytest.mark.parametrize("sentence", ROWS)
def test_row(outcomes, sentence):
    assert outcomes[sentence] is None, outcomes[sentence]
