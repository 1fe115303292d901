"""The texts of the steps of a request."""

from __future__ import annotations

import re

from tests.support import ROOT
from wsgi_proxy.cli.decisions import _NOT_STORED, Step, steps_of
from wsgi_proxy.cli.explain import environ_of
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.response import Attempt, Response


def test_tries_name_their_upstream_once() -> None:
    exchange = Exchange.from_environ(environ_of("GET", "/", [], "127.0.0.1"))
    exchange.upstream_name = "unix:/run/app"
    exchange.tries = [Attempt("unix:/run/app")]
    exchange.tries[0].status = 200
    config = nginx.loads("events {} http { server { listen 8080; } }")
    steps = steps_of(config, exchange, Response(200, [("A", "b")]), 3, 80)
    assert Step("try 1", "unix:/run/app: status 200") in steps
    exchange.upstream_name = "app"
    steps = steps_of(config, exchange, Response(200, [("A", "b")]), 3, 8080)
    assert Step("try 1", "unix:/run/app of app: status 200") in steps
    assert Step("head", "HTTP/1.1 200 OK") in steps and Step("head", "A: b") in steps
    assert not [step for step in steps if step.kind == "warning"]
    assert steps[-1] == Step("response", "200, 3 bytes")


def test_the_reason_for_not_storing_is_in_words() -> None:
    exchange = Exchange.from_environ(environ_of("GET", "/", [], "127.0.0.1"))
    exchange.trace = [("cache", "the response is not stored: private"), ("rewrite", "not stored: private")]
    steps = steps_of(nginx.loads("events {} http { server { } }"), exchange, Response(200, []), 3, 80)
    assert Step("cache", "the response is not stored (private): its Cache-Control has private") in steps
    assert Step("rewrite", "not stored: private") in steps


def test_every_reason_for_not_storing_has_words() -> None:
    storing = (ROOT / "wsgi_proxy/cache/rfc9111/storing.py").read_text().partition("def judge")[2]
    found = set(re.findall(r'(?:return|Verdict\(False,) "([a-z-]+)"\)?\n', storing))
    fetch = (ROOT / "wsgi_proxy/cache/fetch.py").read_text().partition("def _refusal")[2].partition("def _refused")[0]
    found |= set(re.findall(r'return "([a-z-]+)"', fetch))
    assert found | {"min-uses"} == set(_NOT_STORED)
