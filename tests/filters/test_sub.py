"""`sub_filter`: bodies compared with nginx's, in blocks of any size, and the searching by itself."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from tests.support import (
    Client,
    Recorded,
    Recorder,
    Wire,
    chunked,
    fetch,
    free_port,
    full_nginx,
    reply,
    request_bytes,
    run_nginx,
    run_proxy,
    wait_until,
)
from wsgi_proxy.filters.sub import Substitution

Texts = list[tuple[bytes, bytes]]
FIELDS = {"date", "server", "connection", "transfer-encoding", "keep-alive"}


def replaced(texts: Texts, blocks: list[bytes], once: bool = False) -> bytes:
    pairs = [(text, lambda value=value: value) for text, value in texts]
    return b"".join(Substitution(pairs, once)(iter(blocks)))


def plainly(texts: Texts, body: bytes, once: bool) -> bytes:
    """The definition: at each place the first text that matches."""
    out, at, left = b"", 0, [(text.lower(), value) for text, value in texts]
    while at < len(body):
        for pair in left:
            if body[at : at + len(pair[0])].lower() == pair[0]:
                out += pair[1]
                at += len(pair[0])
                if once:
                    left.remove(pair)
                break
        else:
            out += body[at : at + 1]
            at += 1
    return out


def test_any_texts_in_any_blocks() -> None:
    dice = random.Random(5)
    for _ in range(1500):
        texts = [(bytes(dice.choices(b"aAb.", k=dice.randint(1, 4))), b"<%d>" % number) for number in range(dice.randint(1, 4))]
        body = bytes(dice.choices(b"abAB.", k=dice.randint(0, 24)))
        cuts = sorted(dice.choices(range(len(body) + 1), k=dice.randint(0, 5)))
        blocks = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        once = dice.random() < 0.5
        # A sentinel that no text has decides every beginning.
        assert replaced(texts, [*blocks, b"#"], once) == plainly(texts, body + b"#", once), (texts, blocks, once)


def test_a_mark_passes_before_a_beginning_that_is_held_back() -> None:
    search = Substitution([(b"abc", lambda: b"X")], False)
    assert list(search(iter([b"xab", b"", b"cab", b"", b"d"]))) == [b"x", b"", b"X", b"", b"abd"]


def conf(port: int, up: Recorder, folder: Path, texts: str) -> str:
    return f"""
events {{}}
http {{
    access_log off;
    server {{
        listen {port}; root {folder}; proxy_buffering off; proxy_http_version 1.1;
        types {{ text/html html; text/css css; application/x-a a; }}
        default_type text/plain;
        {texts}
        location /up/ {{ proxy_pass {up.url}; }}
        location /buffered/ {{ proxy_buffering on; proxy_pass {up.url}; }}
        location /types/ {{ sub_filter_types text/css; alias {folder}/; }}
        location /all/ {{ sub_filter_types *; sub_filter_last_modified on; alias {folder}/; }}
        location /once/ {{ sub_filter_once on; alias {folder}/; }}
        location /own/ {{ sub_filter "$arg_t" "[$uri]"; sub_filter two "$arg_v"; alias {folder}/; }}
        location /error {{ return 404; }}
        location /text {{ return 200 "one"; }}
        location /moved {{ return 301 http://one/; }}
    }}
}}
"""


TEXTS = (
    "sub_filter one '1 $uri'; sub_filter TWO ''; sub_filter onetwo 12; sub_filter '</p' '$arg_none<hr></p'; sub_filter_once off;"
)
PAGE = b"<p>One two oneTwo onetwo tWo three</P>\n" * 3 + b"on"


@pytest.mark.parametrize("more", ["", "sub_filter_once on;", "sub_filter onf x; sub_filter on y;"])
def test_bodies_and_fields_are_nginxs(more: str, tmp_path: Path) -> None:
    binary = full_nginx("http_sub_module")
    texts = TEXTS.replace("sub_filter_once off;", more or "sub_filter_once off;")
    for name in ("a.html", "a.css", "a.a", "a.txt"):
        (tmp_path / name).write_bytes(PAGE)
    (tmp_path / "empty.html").write_bytes(b"")

    def upstream(request: Recorded, wire: Wire) -> bytes:
        head = [("Content-Type", "text/html; charset=x"), ("ETag", '"a"'), ("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT")]
        if "chunked" in request.target:
            pieces = [PAGE[at : at + 1] for at in range(len(PAGE))]
            return reply(headers=[*head, ("Transfer-Encoding", "chunked")], length=None) + chunked(*pieces)
        return reply(b"" if "empty" in request.target else PAGE, 404 if "missing" in request.target else 200, head)

    targets = [f"{where}a.{kind}" for where in ("/", "/types/", "/all/", "/once/") for kind in ("html", "css", "a", "txt")]
    targets += ["/empty.html", "/error", "/text", "/moved", "/own/a.html", "/own/a.html?t=onetwo&v=%24", "/own/a.html?t=TWO"]
    targets += [f"{where}{what}" for where in ("/up/", "/buffered/") for what in ("plain", "chunked", "empty", "missing")]
    theirs, ours = free_port(), free_port()
    with (
        Recorder(upstream) as up,
        run_nginx(conf(theirs, up, tmp_path, texts), tmp_path, program=binary),
        run_proxy(conf(ours, up, tmp_path, texts), tmp_path),
    ):
        for target in targets:
            for method in ("GET", "HEAD"):
                headers: list[tuple[str, str]] = []
                for more_fields in ([], headers) if headers else ([],):
                    mine, wanted = (fetch(port, target, method, headers=more_fields) for port in (ours, theirs))
                    where = (target, method, more_fields)
                    assert (mine.status, fields(mine)) == (wanted.status, fields(wanted)), where
                    assert mine.body.partition(b"<hr>")[0] == wanted.body.partition(b"<hr>")[0], where


def fields(response: object) -> list[tuple[str, str]]:
    pairs = [(name.lower(), value) for name, value in response.headers]  # type: ignore[attr-defined]
    if b"<center>" in response.body or response.status >= 300:  # type: ignore[attr-defined]
        pairs = [pair for pair in pairs if pair[0] != "content-length"]
    return sorted((name, value.replace("Thu, 01", "")) for name, value in pairs if name not in FIELDS)


def test_pieces_leave_when_they_arrive(tmp_path: Path) -> None:
    go, port = threading.Event(), free_port()

    def slow(request: Recorded, wire: Wire) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 12\r\n\r\nxonexo")
        assert go.wait(60)
        wire.send(b"neyone")

    with Recorder(slow) as up, run_proxy(conf(port, up, tmp_path, TEXTS), tmp_path), Client(port) as client:
        client.send(request_bytes("/up/a", close=True))
        wait_until(lambda: b"x1 /up/ax" in client.read_until(b"/up/ax"), "the first piece")
        go.set()
        assert b"1 /up/ay" in client.read_all()
