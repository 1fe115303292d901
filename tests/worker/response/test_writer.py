"""writer: PEP 3333 and the framing of responses, byte by byte."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from tests.support.client import Client, Response, parse_response, send_raw
from tests.support.ports import wait_until
from tests.support.service import Serving, serving
from wsgi_proxy.errors import ClientError
from wsgi_proxy.response import FileBody
from wsgi_proxy.worker.request.environ import FileWrapper

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def get(server: Serving, method: str = "GET", version: str = "1.1") -> Response:
    """Send one request and return the response, read until the server closes."""
    raw = send_raw(server.port, f"{method} / HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    response = parse_response(raw, method)
    assert response is not None, raw
    return response


def responseing(headers: list[tuple[str, str]], *blocks: bytes, status: str = "200 OK") -> App:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response(status, headers)
        return iter(blocks)

    return app


def test_lengths_and_chunks() -> None:
    with serving(responseing([("Content-Length", "6")], b"abc", b"", b"def")) as server:
        response = get(server)
        assert (response.body, response.complete, response.get("Transfer-Encoding")) == (b"abcdef", True, None)
    with serving(responseing([], b"abc", b"", b"x" * 100_000)) as server:
        response = get(server)
        assert (response.get("Transfer-Encoding"), response.body) == ("chunked", b"abc" + b"x" * 100_000)
        response = get(server, version="1.0")
        assert response.get("Transfer-Encoding") is None and response.body == b"abc" + b"x" * 100_000
        assert response.get("Connection") == "close"


class AtHand:
    """An application's body that is there in one piece."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def at_hand(self) -> bytes:
        return self.body

    def __iter__(self) -> Iterator[bytes]:
        raise AssertionError("iterated")


@pytest.mark.parametrize("body", [b"", b"abc", b"x" * 100_000])
@pytest.mark.parametrize("trailers", [None, [("X-T", "1")]])
def test_a_body_at_hand_without_a_length(body: bytes, trailers: list[tuple[str, str]] | None) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        environ["wsgi_proxy.connection"].trailers = trailers
        start_response("200 OK", [])
        return AtHand(body)

    with serving(app) as server:
        response = get(server)
        assert (response.get("Transfer-Encoding"), response.body, response.complete) == ("chunked", body, True)
        assert response.trailers == (trailers or []) and response.rest == b""
        assert get(server, version="1.0").body == body


def test_blocks_may_be_any_bytes() -> None:
    with serving(responseing([], b"a", bytearray(b"b"), memoryview(b"c"))) as server:
        assert get(server).body == b"abc"
        assert get(server, version="1.0").body == b"abc"
    with serving(responseing([("Content-Length", "2")], memoryview(b"ab"))) as server:
        assert get(server).body == b"ab"


def test_one_block_in_a_list_gets_its_length() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [b"hello"]

    with serving(app) as server:
        assert get(server).get("Content-Length") == "5"
        # The body that an application returns for HEAD does not have the length of a GET's.
        assert get(server, "HEAD").get("Content-Length") is None


def test_an_empty_body() -> None:
    with serving(responseing([])) as server:
        assert (get(server).get("Content-Length"), get(server).body) == ("0", b"")


def test_a_short_body_cuts_and_a_long_one_is_cut() -> None:
    with serving(responseing([("Content-Length", "10")], b"short")) as server:
        response = get(server)
        assert (response.body, response.complete) == (b"short", False)
        assert "before its Content-Length" in server.lines[0]
    with serving(responseing([("Content-Length", "4")], b"lo", b"ng")) as server, Client(server.port) as client:
        request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        assert [client.exchange(request).body, client.exchange(request).body] == [b"long", b"long"]


@pytest.mark.parametrize(
    ("method", "status", "length"),
    [("HEAD", "200 OK", "5"), ("GET", "204 No Content", None), ("GET", "304 Not Modified", "5")],
)
def test_answers_without_a_body(method: str, status: str, length: str | None) -> None:
    closed: list[bool] = []

    class Body(list[bytes]):
        def close(self) -> None:
            closed.append(True)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response(status, [("Content-Length", "5")])
        return Body([b"he", b"llo"])

    with serving(app) as server, Client(server.port) as client:
        for _ in range(2):
            response = client.exchange(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode(), method)
            assert response.get("Content-Length") == length and response.get("Transfer-Encoding") is None
        wait_until(lambda: len(closed) == 2, "both to be closed")
        assert client.buffer == b""


def test_fields_of_the_application_go_out_as_they_are() -> None:
    headers = [("X-b", "1"), ("date", "then"), ("SERVER", "mine"), ("Set-Cookie", "a"), ("Set-Cookie", "b"), ("X-b", "2")]
    with serving(responseing(headers, b"x")) as server:
        response = get(server)
        assert response.headers[: len(headers)] == headers
        assert response.get("Date") == "then" and response.get("Server") == "mine"
    with serving(responseing([], b"x")) as server:
        assert get(server).get("Date") and get(server).get("Server") == "wsgi_proxy"


def test_hop_by_hop_fields() -> None:
    with serving(responseing([("Transfer-Encoding", "gzip"), ("Connection", "X-Foo"), ("X-Foo", "1")], b"x")) as server:
        response = get(server)
        assert response.get("Transfer-Encoding") == "chunked" and response.get_all("Connection") == ["X-Foo", "close"]
    with serving(responseing([("Connection", "close"), ("Content-Length", "1")], b"x")) as server, Client(server.port) as client:
        assert client.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").get("Connection") == "close"
        assert client.read_all() == b""


def test_a_refused_connect_ends_the_connection() -> None:
    with serving(responseing([("Content-Length", "2")], b"no", status="403 Forbidden")) as server, Client(server.port) as client:
        client.send(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        response = client.read_response()
        assert (response.status, response.get("Connection"), client.read_all()) == (403, "close", b"")


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("200 OK", [("X", "a\r\nY: b")]),
        ("200 OK", [("X", "a\nb")]),
        ("200 OK", [("X", "a\0b")]),
        ("200 OK", [("Connection", "a\r\nY: b")]),
        ("200 OK", [("Date", "a\r\nY: b")]),
        ("200 OK", [("Content-Length", "1\r\nY: b")]),
        ("200 OK", [("X Y", "a")]),
        ("200 OK", [("X:", "a")]),
        ("200 OK", [("", "a")]),
        ("200 OK", [("X", "\u20ac")]),
        ("200 OK", [("Content-Length", "-1")]),
        ("200 OK", [("Content-Length", "1_0")]),
        ("200 OK", [("Content-Length", "1"), ("Content-Length", "2")]),
        ("200 OK\r\nX: y", []),
        ("200\nOK", []),
        ("200 O\x01K", []),
        ("200 \u20ac", []),
        ("twohundred", []),
        ("100 Continue", []),
    ],
)
def test_what_must_not_go_out_is_a_500(status: str, headers: list[tuple[str, str]]) -> None:
    with serving(responseing(headers, b"x", status=status)) as server:
        assert get(server).status == 500


def test_a_500_for_an_application_without_start_response() -> None:
    with serving(lambda environ, start_response: [b"x"]) as server:
        assert get(server).status == 500


def test_the_write_callable() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        write = start_response("200 OK", [("Content-Length", "6")])
        write(b"ab")
        write(b"cd")
        return [b"ef"]

    with serving(app) as server:
        assert get(server).body == b"abcdef"


def test_exc_info_replaces_the_head_until_it_is_sent() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("X", "old")])
        try:
            raise ValueError("first")
        except ValueError:
            start_response("503 Busy", [("X", "new")], sys.exc_info())
        yield b"busy"
        try:
            raise ValueError("second")
        except ValueError:
            start_response("500 Late", [], sys.exc_info())

    with serving(app) as server:
        response = get(server)
        assert (response.status, response.reason, response.get("X")) == (503, "Busy", "new")
        assert not response.complete and "ValueError: second" in server.lines[0]


def test_start_response_twice_is_an_error() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        start_response("200 OK", [])
        return [b""]

    with serving(app) as server:
        assert get(server).status == 500


def test_a_generator_may_call_start_response_when_it_runs() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        yield b"late"

    with serving(app) as server:
        assert get(server).body == b"late"
        assert get(server, "HEAD").status == 200


def test_close_is_called_however_it_ends() -> None:
    closed: list[str] = []

    class Body:
        def __init__(self, name: str, fault: bool) -> None:
            self.name, self.fault = name, fault

        def __iter__(self) -> Iterator[bytes]:
            yield b"x"
            if self.fault:
                raise ValueError("fault")

        def close(self) -> None:
            closed.append(self.name)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["QUERY_STRING"] != "silent":
            start_response("200 OK", [])
        return Body(environ["QUERY_STRING"], environ["QUERY_STRING"] == "fault")

    with serving(app) as server:
        for name in ("good", "fault", "silent"):
            send_raw(server.port, f"GET /?{name} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        assert closed == ["good", "fault", "silent"]


def test_errors_with_a_status_are_that_status() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        raise ClientError("too much", status=413)

    with serving(app) as server:
        assert get(server).status == 413


def test_each_block_leaves_at_once() -> None:
    import gevent

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        yield b"data: 1\n\n"
        gevent.sleep(0.3)
        yield b"data: 2\n\n"

    with serving(app) as server, Client(server.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_until(b"\n\n\r\n").endswith(b"data: 1\n\n\r\n")
        assert client.buffer == b""
        assert client.read_until(b"0\r\n\r\n") == b"9\r\ndata: 2\n\n\r\n0\r\n\r\n"


def test_early_hints_and_trailers() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["wsgi.early_hints"]([("Link", "</a>; rel=preload")])
        environ["wsgi_proxy.connection"].trailers = lambda: [("X-Sum", "1")]
        start_response("200 OK", [("Trailer", "X-Sum")])
        yield b"x"

    with serving(app) as server:
        response = get(server)
        assert [(hint.status, hint.get("Link")) for hint in response.interim] == [(103, "</a>; rel=preload")]
        assert (response.body, response.trailers, response.get("Trailer")) == (b"x", [("X-Sum", "1")], "X-Sum")
        assert get(server, version="1.0").interim == []


# --- bodies that are not iterated ---


@pytest.mark.parametrize("size", [0, 10, 300_000])
@pytest.mark.parametrize("length", [True, False], ids=["with length", "without"])
def test_file_wrapper(tmp_path: Any, size: int, length: bool) -> None:
    content = os.urandom(size)
    (tmp_path / "f").write_bytes(b"skip" + content)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        file = open(tmp_path / "f", "rb")  # noqa: SIM115 - closed by the server
        file.read(4)
        start_response("200 OK", [("Content-Length", str(size))] if length else [])
        result: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
        return result

    with serving(app) as server:
        response = get(server)
        assert response.body == content and response.complete and response.get("Content-Length") == str(size)
        assert get(server, "HEAD").body == b""


def test_file_wrapper_of_what_is_no_file() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        result: Iterable[bytes] = environ["wsgi.file_wrapper"](io.BytesIO(b"abc" * 1000), 100)
        return result

    with serving(app) as server:
        response = get(server)
        assert response.body == b"abc" * 1000 and response.get("Transfer-Encoding") == "chunked"
    assert FileWrapper(io.BytesIO()).extent() is None
    assert not hasattr(FileWrapper(object()), "close")


@pytest.mark.parametrize("size", [10, 300_000])
def test_a_part_of_a_file(tmp_path: Any, size: int) -> None:
    content = os.urandom(size + 20)
    (tmp_path / "f").write_bytes(content)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("206 Partial Content", [("Content-Length", str(size))])
        count = size + 100 if environ["QUERY_STRING"] == "cut" else size
        return FileBody(open(tmp_path / "f", "rb"), 10, count)  # noqa: SIM115 - closed by the server

    with serving(app) as server:
        assert get(server).body == content[10 : 10 + size]


def test_a_file_that_became_shorter_is_a_cut(tmp_path: Any) -> None:
    (tmp_path / "f").write_bytes(bytes(100_000))

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "200000")])
        return FileBody(open(tmp_path / "f", "rb"), 0, 200_000)  # noqa: SIM115 - closed by the server

    with serving(app) as server:
        response = get(server)
        assert not response.complete and len(response.body) == 100_000


@pytest.mark.parametrize("moved", [6, 3])
def test_a_body_that_sends_itself(moved: int) -> None:
    class Body:
        def send_to(self, stream: Any) -> int:
            stream.sendall(b"abcdef"[:moved])
            return moved

        def __iter__(self) -> Iterator[bytes]:
            raise AssertionError("not to be iterated")

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "6")])
        return Body()  # type: ignore[return-value]

    with serving(app) as server:
        response = get(server)
        assert response.body == b"abcdef"[:moved] and response.complete == (moved == 6)
