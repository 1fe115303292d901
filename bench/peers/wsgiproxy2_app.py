"""WSGIProxy2 with its requests client."""

import itertools
import os

from wsgiproxy import HostProxy

PROXIES = itertools.cycle(
    [HostProxy(f"http://127.0.0.1:{port}/", client="requests") for port in os.environ["BENCH_UPSTREAMS"].split(",")]
)


def app(environ, start_response):
    return next(PROXIES)(environ, start_response)
