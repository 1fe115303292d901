"""The record of one request."""

from __future__ import annotations

import ast
import io
from typing import Any

from tests.support import ROOT
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.phases import RECORD
from wsgi_proxy.response import Attempt


def exchange(**environ: Any) -> Exchange:
    return Exchange.from_environ({"REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO(), **environ})


def test_bodies() -> None:
    assert exchange(RAW_URI="/", CONTENT_LENGTH="5").content_length == 5
    assert exchange(RAW_URI="/", HTTP_TRANSFER_ENCODING="chunked").chunked
    assert not exchange(RAW_URI="/", CONTENT_LENGTH="0").has_body


def test_headers_and_reasons() -> None:
    x = exchange(RAW_URI="/", HTTP_X_A="1", CONTENT_TYPE="t")
    assert (x.header("x-a"), x.header("Content-Type"), x.header("no")) == ("1", "t", "")
    x.why("package", "not asked for")
    assert x.trace is None
    x.trace = []
    x.why("package", "because")
    assert x.trace == [("package", "because")]


def test_a_copy_has_everything() -> None:
    trees = [ast.parse((ROOT / "wsgi_proxy" / name).read_text()) for name in ("exchange.py", "arrival.py")]
    classes = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    body = [node for each in classes if each.name in ("Exchange", "ClientRequest") for node in each.body]
    named = {node.target.id for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
    named |= {name.id for node in body if isinstance(node, ast.Assign) for name in node.targets if isinstance(name, ast.Name)}
    init = next(node for node in body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    named |= {node.attr for node in ast.walk(init) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    # `environ` is a property, which makes the value at its first use.
    assert {name.removeprefix("_") for name in named} == set(RECORD)
    x = Exchange.from_environ(
        {"REQUEST_METHOD": "PUT", "wsgi.input": io.BytesIO(b"body"), "RAW_URI": "/a?b", "SERVER_PROTOCOL": "HTTP/1.1"}
    )
    x.host, x.status, x.tries = "h", 204, [Attempt("a")]
    other = x.copy()
    assert all(getattr(other, name) == getattr(x, name) for name in RECORD)
    other.host = "elsewhere"
    assert x.host == "h"


def test_a_port_that_is_a_number() -> None:
    """Werkzeug's server puts an int into the environ, where PEP 3333 wants str; compiled code takes no int for a str."""
    assert exchange(RAW_URI="/", REMOTE_PORT=1234).remote_port == "1234"
    assert exchange(RAW_URI="/").remote_port == ""
