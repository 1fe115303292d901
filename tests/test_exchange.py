"""One request's record."""

from __future__ import annotations

import ast
import io
from typing import Any

import pytest

from tests.support import ROOT
from wsgi_proxy.errors import ClientError
from wsgi_proxy.exchange import PHASES, RECORD, Exchange
from wsgi_proxy.response import Attempt


def exchange(**environ: Any) -> Exchange:
    return Exchange.from_environ({"REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO(), **environ})


def test_raw_pairs_and_target_are_taken_when_the_server_hands_them_over() -> None:
    x = exchange(**{"wsgi_proxy.pairs": [("x-A", "1")], "RAW_URI": "/a%2Fb?c", "wsgi_proxy.connection": "c"})
    assert (x.pairs, x.target, x.connection) == ([("x-A", "1")], "/a%2Fb?c", "c")


def test_other_servers_give_what_they_have() -> None:
    x = exchange(HTTP_X_A="1", CONTENT_TYPE="t/x", PATH_INFO="/a b", QUERY_STRING="q")
    assert sorted(x.pairs) == [("Content-Type", "t/x"), ("X-A", "1")]
    assert x.target == "/a%20b?q"


@pytest.mark.parametrize(
    ("target", "host", "path"),
    [("http://a:81/b?c", "a:81", "/b?c"), ("HTTPS://a", "a", "/"), ("http://a?x", "a", "/?x")],
)
def test_absolute_form_names_the_host(target: str, host: str, path: str) -> None:
    info, _, query = path.partition("?")
    for keys in (
        {},
        {"HTTP_HOST": "other", "wsgi_proxy.pairs": [("Host", host)], "wsgi_proxy.keys": {"HTTP_HOST": "other"}},
    ):
        x = exchange(RAW_URI=target, PATH_INFO=info, QUERY_STRING=query, **keys)
        assert (x.environ["HTTP_HOST"], x.target, x.raw_target) == (host, path, target)
        assert x.pairs == [("Host", host)]


def test_a_host_that_may_be_a_middleware_s_stays_in_absolute_form() -> None:
    """Other servers do not hand over the client's fields, so that the environ's Host may be the client's or a middleware's."""
    x = exchange(RAW_URI="http://a/b", HTTP_HOST="edited", PATH_INFO="/b")
    assert (x.environ["HTTP_HOST"], x.target, x.absolute, x.pairs) == ("edited", "/b", "http", [("Host", "edited")])
    x = exchange(RAW_URI="a:443", HTTP_HOST="b", REQUEST_METHOD="CONNECT")
    assert (x.environ["HTTP_HOST"], x.target) == ("a:443", "a:443")


def test_a_middleware_s_host_stays_in_absolute_form() -> None:
    raw = {"wsgi_proxy.pairs": [("Host", "a")], "wsgi_proxy.keys": {"HTTP_HOST": "a"}, "RAW_URI": "http://a/b", "PATH_INFO": "/b"}
    x = exchange(**raw, HTTP_HOST="edited")
    assert (x.environ["HTTP_HOST"], x.target, x.absolute, x.pairs) == ("edited", "/b", "http", [("Host", "edited")])
    assert exchange(**raw, HTTP_HOST="a").pairs == [("Host", "a")]


def test_the_environ_s_framing_counts() -> None:
    raw = {"wsgi_proxy.pairs": [("Content-Length", "3")], "wsgi_proxy.keys": {"CONTENT_LENGTH": "3"}, "PATH_INFO": "/"}
    assert exchange(**raw, CONTENT_LENGTH="3").content_length == 3
    assert exchange(**raw, CONTENT_LENGTH="5").content_length == 5
    assert exchange(**raw).content_length is None and exchange(**raw).pairs == []
    with pytest.raises(ClientError):
        exchange(**raw, CONTENT_LENGTH="x")
    changed = exchange(**raw, HTTP_TRANSFER_ENCODING="chunked", **{"wsgi.input_terminated": True})
    assert changed.chunked and changed.content_length is None


def test_userinfo_is_refused_and_other_forms_stay() -> None:
    with pytest.raises(ClientError):
        exchange(RAW_URI="http://u:p@a/")
    assert exchange(RAW_URI="*", REQUEST_METHOD="OPTIONS").target == "*"
    assert exchange(RAW_URI="a:443", REQUEST_METHOD="CONNECT").target == "a:443"


@pytest.mark.parametrize("length", ["-1", "+1", "1 ", "1,1", "0x1", "²"])
def test_a_length_is_digits(length: str) -> None:
    with pytest.raises(ClientError):
        exchange(RAW_URI="/", CONTENT_LENGTH=length)


def test_bodies() -> None:
    assert exchange(RAW_URI="/", CONTENT_LENGTH="5").content_length == 5
    assert exchange(RAW_URI="/", HTTP_TRANSFER_ENCODING="chunked").chunked
    assert not exchange(RAW_URI="/", CONTENT_LENGTH="0").has_body


def test_headers_and_reasons() -> None:
    x = exchange(RAW_URI="/", HTTP_X_A="1", CONTENT_TYPE="t")
    assert (x.header("x-a"), x.header("Content-Type"), x.header("no")) == ("1", "t", "")
    x.why("room", "not asked for")
    assert x.trace is None
    x.trace = []
    x.why("room", "because")
    assert x.trace == [("room", "because")]


def test_http2_under_another_server() -> None:
    """No length is needed there, and gunicorn invents HTTP_VERSION."""
    environ = {"REQUEST_METHOD": "POST", "RAW_URI": "/", "SERVER_PROTOCOL": "HTTP/2.0", "HTTP_VERSION": "2", "HTTP_X": "y"}
    x = Exchange.from_environ({**environ, "wsgi.input": io.BytesIO(b"hello")})
    assert x.chunked and x.pairs == [("X", "y")]
    assert [x.input.read(0), x.input.read(1), x.input.read(2), x.input.read(), x.input.read(5)] == [b"", b"h", b"el", b"lo", b""]
    whole = Exchange.from_environ({**environ, "wsgi.input": io.BytesIO(b"hello")}).input
    assert (whole.read(), whole.read()) == (b"hello", b"")
    assert Exchange.from_environ({**environ, "wsgi.input": io.BytesIO(b"hello")}).input.read(3) == b"hel"
    assert not Exchange.from_environ({**environ, "wsgi.input": io.BytesIO()}).chunked
    with pytest.raises(ClientError):
        Exchange.from_environ({**environ, "RAW_URI": "http://b/", "wsgi.input": io.BytesIO()})


def test_a_copy_has_everything() -> None:
    tree = ast.parse((ROOT / "wsgi_proxy/exchange.py").read_text())
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Exchange").body
    named = {node.target.id for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
    named |= {name.id for node in body if isinstance(node, ast.Assign) for name in node.targets if isinstance(name, ast.Name)}
    init = next(node for node in body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    named |= {node.attr for node in ast.walk(init) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    assert named == set(RECORD)
    x = Exchange.from_environ(
        {"REQUEST_METHOD": "PUT", "wsgi.input": io.BytesIO(b"body"), "RAW_URI": "/a?b", "SERVER_PROTOCOL": "HTTP/1.1"}
    )
    x.host, x.status, x.tries = "h", 204, [Attempt("a")]
    other = x.copy()
    assert all(getattr(other, name) == getattr(x, name) for name in RECORD)
    other.host = "elsewhere"
    assert x.host == "h"


def written(tree: ast.AST) -> set[tuple[str, int]]:
    """Return (attribute, line) of every assignment to an attribute of an exchange, which the code calls by one of these names."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if ast.unparse(node.value) in ("exchange", "x", "self._x", "self._exchange", "self.exchange"):
                found.add((node.attr, node.lineno))
    return found


def test_each_attribute_is_written_in_its_phase() -> None:
    used: set[tuple[str, str]] = set()
    for path in (ROOT / "wsgi_proxy").rglob("*.py"):
        package = path.relative_to(ROOT / "wsgi_proxy").parts[0]
        if package == "exchange.py":
            continue
        for name, line in written(ast.parse(path.read_bytes())):
            phases = {phase for phase, (writers, names) in PHASES.items() if name in names.split() and package in writers.split()}
            assert phases, f"{path}:{line} writes {name} outside its phase"
            used |= {(phase, package) for phase in phases}
    assert used >= {(phase, writer) for phase, (writers, _) in PHASES.items() for writer in writers.split()}


def test_the_check_of_writers_sees_every_form() -> None:
    text = "x.a = 1\nexchange.b, other = 1, 2\nx.c += 1\nself._x.d: int = 1\nother.e = x.f"
    assert {name for name, _ in written(ast.parse(text))} == {"a", "b", "c", "d"}


def test_a_port_that_is_a_number() -> None:
    """Werkzeug's server puts an int into the environ, where PEP 3333 wants str; compiled code takes no int for a str."""
    assert exchange(RAW_URI="/", REMOTE_PORT=1234).remote_port == "1234"
    assert exchange(RAW_URI="/").remote_port == ""
