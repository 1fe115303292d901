"""Internal redirects, one by one. test_proxy.py tests them on the whole request path."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest

from wsgi_proxy.errors import ClientError, ProxyError
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.proxy.internal_redirects import Detours
from wsgi_proxy.response import Response
from wsgi_proxy.routing.router import Router

TEXT = """events {} http { server {
    error_page 404 /missing?a=b; error_page 500 @other; error_page 410 =301 http://h/;
    location / { } location @other { } location = /files { try_files /no /fallback?x=y; } location = /code { try_files /no =418; }
} }"""


@pytest.fixture
def made() -> tuple[Detours, list[str], Callable[..., Exchange]]:
    """Detours that record each internal redirect, and a factory of exchanges."""
    router = Router(nginx.loads(TEXT))
    walked: list[str] = []

    def walk(x: Exchange) -> Response:
        walked.append(x.location.pattern if x.named_location else f"{x.method} {x.uri}?{x.args}")
        return Response(200)

    def exchange(target: str = "/", method: str = "GET", **environ: Any) -> Exchange:
        asked = {"RAW_URI": target, "PATH_INFO": unquote(target), "HTTP_HOST": "h"}
        x = Exchange.from_environ({"REQUEST_METHOD": method, "wsgi.input": io.BytesIO(), **asked, **environ})
        router.choose_server(x)
        router.route(x)
        return x

    return Detours(router, walk), walked, exchange


def test_error_pages_go_where_they_say(made: Any) -> None:
    detours, walked, exchange = made
    assert detours.special(exchange("/", "POST"), 404).status == 404
    assert detours.special(exchange("/", "POST"), 500).status == 500
    gone = detours.special(exchange(), 410)
    assert (gone.status, gone.header("location")) == (301, "http://h/")
    assert walked == ["GET /missing?a=b", "@other"]


def test_no_error_page_for_an_error_page(made: Any) -> None:
    detours, walked, exchange = made
    x = exchange()
    x.error_status, x.error_page_made = 404, True
    assert detours.special(x, 404).status == 404
    assert walked == []


def test_try_files_fall_back(made: Any) -> None:
    detours, walked, exchange = made
    detours.try_files(exchange("/files"))
    assert walked == ["GET /fallback?x=y"]
    assert detours.try_files(exchange("/code")).status == 418


def test_a_refusal_becomes_its_page(made: Any) -> None:
    detours, _, exchange = made
    assert detours.refuse(exchange(), ClientError("no", status=403)).status == 403
    assert detours.refuse(exchange(), ProxyError("defect")).status == 500
