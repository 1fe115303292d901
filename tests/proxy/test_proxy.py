"""The request path: retries as in nginx, error pages, internal redirects, and the record of each attempt."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from werkzeug.test import Client as WSGIClient
from werkzeug.test import EnvironBuilder

from tests.support import Recorder, free_port, reply, wait_until
from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.wsgi.app import ProxyApp

Make = Callable[..., ProxyApp]


class Application(ProxyApp):
    """The application, and the upstreams that it was made with."""

    upstreams: list[Recorder]


@pytest.fixture
def make() -> Iterator[Make]:
    """Builds an application of the http-level text given; `{0}`, `{1}`… are the addresses of upstreams that answer as given."""
    with ExitStack() as stack:

        def build(text: str, *responses: Any) -> ProxyApp:
            upstreams = [stack.enter_context(Recorder(response)) for response in responses]
            text = text.format(*[upstream.address for upstream in upstreams], dead=f"127.0.0.1:{free_port()}")
            app = Application(nginx.loads(f"events {{}} http {{ access_log off; {text} }}"))
            stack.callback(app.close)
            app.upstreams = upstreams
            return app

        yield build


def get(app: Any, path: str = "/", method: str = "GET", **options: Any) -> Any:
    return WSGIClient(app).open(path, method=method, buffered=True, environ_base={"REMOTE_ADDR": "127.0.0.1"}, **options)


def says(text: bytes, status: int = 200, *pairs: tuple[str, str]) -> Callable[..., bytes]:
    return lambda request, wire: reply(text, status, pairs)


TWO = """upstream two {{ server {0} max_fails=3; server {1} max_fails=3; }}
server {{ location / {{ proxy_pass http://two; %s }} }}"""


DEAD_FIRST = """upstream x {{ server {dead} max_fails=0; server {0} max_fails=0; }}
server {{ location / {{ proxy_pass http://x; %s }} }}"""


def test_a_listed_status_goes_to_the_next_server(make: Make) -> None:
    app = make(TWO % "proxy_next_upstream error http_500;", says(b"bad", 500), says(b"good"))
    assert [get(app).data for _ in range(4)] == [b"good"] * 4


def test_on_the_last_try_it_passes_through_and_is_not_counted(make: Make) -> None:
    app = make(TWO % "proxy_next_upstream http_500;", says(b"one", 500), says(b"two", 500))
    response = get(app)
    assert (response.status_code, response.data) == (500, b"two")
    assert [standing.fails for _, _, _, standing in app.targets.pools["two"].standing()] == [1, 0]


def test_an_unlisted_status_passes_through(make: Make) -> None:
    app = make(TWO % "", says(b"one", 500), says(b"two", 500))
    assert {get(app).data for _ in range(4)} == {b"one", b"two"}


@pytest.mark.parametrize(("status", "counted"), [(404, 0), (403, 0), (429, 1), (503, 1)])
def test_some_statuses_never_count_as_failures(make: Make, status: int, counted: int) -> None:
    app = make(TWO % f"proxy_next_upstream http_{status};", says(b"", status), says(b"ok"))
    assert get(app).data == b"ok"
    fails = [standing.fails for _, _, _, standing in app.targets.pools["two"].standing()]
    assert sum(fails) == counted


def test_tries_are_limited(make: Make) -> None:
    app = make(DEAD_FIRST % "proxy_next_upstream_tries 1;", says(b"ok"))
    assert sorted(get(app).status_code for _ in range(2)) == [200, 502]


def test_off_means_off(make: Make) -> None:
    app = make(DEAD_FIRST % "proxy_next_upstream off;", says(b"ok"))
    assert sorted(get(app).status_code for _ in range(2)) == [200, 502]


@pytest.mark.parametrize(("listed", "statuses"), [("error", [200, 502]), ("error non_idempotent", [200, 200])])
def test_what_is_not_idempotent_is_sent_once(make: Make, listed: str, statuses: list[int]) -> None:
    app = make(TWO % f"proxy_next_upstream {listed};", lambda request, wire: wire.close(), says(b"ok"))
    assert sorted(get(app, method="POST", data=b"x").status_code for _ in range(2)) == statuses


def test_a_body_is_sent_again_whole(make: Make) -> None:
    app = make(TWO % "", lambda request, wire: wire.close(), says(b"ok"))
    body = b"x" * 200_000
    for _ in range(2):
        assert get(app, method="PUT", data=body).data == b"ok"
    bodies = [request.body for request in app.upstreams[1].requests]
    assert bodies == [body, body]


def test_error_pages(make: Make) -> None:
    app = make(
        """server {{
            error_page 404 /missing;
            error_page 500 502 = @fallback;
            error_page 410 =200 /missing;
            error_page 403 http://example.org/no;
            location / {{ return 404; }}
            location = /gone {{ return 410; }}
            location = /no {{ return 403; }}
            location = /down {{ proxy_pass http://{dead}; }}
            location = /taken {{ proxy_pass http://{0}; proxy_intercept_errors on; }}
            location = /passed {{ proxy_pass http://{0}; }}
            location = /missing {{ internal; return 200 "page"; }}
            location @fallback {{ return 200 "fallback"; }}
        }}""",
        says(b"theirs", 404),
    )
    responses = {path: get(app, path) for path in ("/", "/gone", "/no", "/down", "/taken", "/passed", "/missing")}
    assert (responses["/"].status_code, responses["/"].data) == (404, b"page")
    assert (responses["/gone"].status_code, responses["/gone"].data) == (200, b"page")
    assert (responses["/no"].status_code, responses["/no"].headers["Location"]) == (302, "http://example.org/no")
    assert (responses["/down"].status_code, responses["/down"].data) == (200, b"fallback")
    assert (responses["/taken"].status_code, responses["/taken"].data) == (404, b"page")
    assert (responses["/passed"].status_code, responses["/passed"].data) == (404, b"theirs")
    assert responses["/missing"].status_code == 404


def test_an_upstream_may_name_the_place_that_answers(make: Make) -> None:
    app = make(
        """server {{
            location / {{ proxy_pass http://{0}; }}
            location /private/ {{ internal; return 200 "private $uri"; }}
        }}""",
        says(b"not seen", 200, ("X-Accel-Redirect", "/private/a%20b")),
    )
    assert get(app).data == b"private /private/a b"
    assert get(app, "/private/x").status_code == 404


def test_an_unsafe_place_is_none(make: Make) -> None:
    app = make(
        'server {{ location / {{ proxy_pass http://{0}; }} location /private/ {{ return 200 "private"; }} }}',
        says(b"not seen", 200, ("X-Accel-Redirect", "/private/%2e%2e/x")),
    )
    assert get(app).status_code == 404


def test_a_key_of_the_cache_may_name_the_body(make: Make) -> None:
    app = make(
        """proxy_cache_path memory keys_zone=posts:1m;
        server {{ location / {{
            proxy_pass http://{0}; proxy_cache posts; proxy_cache_methods POST; proxy_cache_valid 1m;
            proxy_cache_key "$uri $request_body";
        }} }}""",
        lambda request, wire: reply(request.body),
    )
    for _ in range(2):
        for body in (b"one", b"two"):
            assert get(app, "/", "POST", data=body).data == body
    assert len(app.upstreams[0].requests) == 2


def test_redirects_that_turn_in_circles_end(make: Make) -> None:
    app = make("server {{ location / {{ rewrite ^ /x last; }} }}")
    assert get(app).status_code == 500


def test_an_upstream_chosen_by_a_variable(make: Make) -> None:
    app = make(
        """map $arg_who $where {{ default {0}; two {1}; }}
        server {{ location / {{ proxy_pass http://$where; }} location /path/ {{ proxy_pass http://$where/fixed?$args; }} }}""",
        says(b"one"),
        says(b"two"),
    )
    assert get(app, "/?who=one").data == b"one"
    assert get(app, "/?who=two").data == b"two"
    get(app, "/path/x?who=two&a=b")
    assert app.upstreams[1].requests[-1].target == "/fixed?who=two&a=b"


def test_every_lease_is_settled(make: Make) -> None:
    app = make(TWO % "", says(b"x" * 300_000), lambda request, wire: wire.close())
    for _ in range(10):
        get(app)
    result = app(EnvironBuilder("/").get_environ(), lambda *arguments: None)  # type: ignore[arg-type,return-value]
    result.close()  # type: ignore[attr-defined] - a server that gives up before reading anything
    assert [connections for _, connections, _, _ in app.targets.pools["two"].standing()] == [0, 0]


@pytest.mark.parametrize("buffering", ["on", "off"])
@pytest.mark.parametrize("framing", ["length", "chunked", "parts", "empty"])
def test_a_lease_ends_with_the_upstreams_last_byte(make: Make, buffering: str, framing: str) -> None:
    """Under gunicorn's workers a client has the last block before the iterable is closed, and may send its next request."""

    def responses(request: Any, wire: Any) -> Any:
        if framing == "chunked":
            wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            time.sleep(0.05)
            wire.send(b"0\r\n\r\n")
        elif framing == "parts":
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
            time.sleep(0.05)
            wire.send(b"llo")
        else:
            wire.send(reply(b"hello" if framing == "length" else b""))

    app = make(TWO % f"proxy_buffering {buffering};", responses, responses)
    result = iter(body := app(EnvironBuilder("/").get_environ(), lambda *arguments: None))  # type: ignore[arg-type,return-value]
    got = b""
    while got != b"hello" and (block := next(result, None)) is not None:
        got += block
    if framing == "chunked":
        assert next(result, None) is None
    assert got == (b"" if framing == "empty" else b"hello")
    assert [connections for _, connections, _, _ in app.targets.pools["two"].standing()] == [0, 0]
    body.close()  # type: ignore[attr-defined]


def test_closing_ends_the_checks(make: Make) -> None:
    text = "upstream h {{ server {0}; }} server {{ location / {{ proxy_pass http://h; health_check interval=1; }} }}"
    app = make(text, says(b"ok"))
    assert get(app).data == b"ok"
    assert [thread for thread in threading.enumerate() if "probes" in thread.name]
    app.close()
    wait_until(lambda: not [thread for thread in threading.enumerate() if "probes" in thread.name], "the checks to end")
