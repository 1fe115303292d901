"""Werkzeug's ProxyMiddleware, one for each upstream, in turn."""

import itertools
import os

from werkzeug.middleware.http_proxy import ProxyMiddleware
from werkzeug.wrappers import Response

PROXIES = itertools.cycle(
    [
        ProxyMiddleware(
            Response("no", 404), {"/": {"target": f"http://127.0.0.1:{port}"}, "": {"target": f"http://127.0.0.1:{port}"}}
        )
        for port in os.environ["BENCH_UPSTREAMS"].split(",")
    ]
)


def app(environ, start_response):
    # Its prefixes are kept between two slashes, so that the root itself never matches: ask for a path below.
    environ["PATH_INFO"] = "//" + environ["PATH_INFO"].lstrip("/")
    return next(PROXIES)(environ, start_response)
