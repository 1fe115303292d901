"""The server block that answers a malformed request: nginx's choice by the name in the TLS hello, the default, and Host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import Client, Response, free_port, run_nginx, run_proxy, send_raw, wait_until
from tests.support.comparison import compare_with_nginx
from tests.support.tls import Files

NAMES = ("default.test", "a.test", "b.test")
CONF = """
worker_processes 1; error_log stderr crit; events {}
http {
    access_log off; server_tokens off; large_client_header_buffers 2 1k; client_header_buffer_size 1k;
    SERVERS
    server { listen LISTEN; server_name ""; CERT add_header X-Server nameless always; return 200 nameless; }
}
"""
SERVER = """
    server {
        listen LISTEN; server_name NAME; CERT merge_slashes MERGE;
        add_header X-Server NAME always; add_header X-Host "$host $server_name" always;
        error_page 405 /405; error_page 400 = /400;
        location /405 { return 200 "NAME 405 $host"; }
        location /400 { return 418 "NAME $host"; }
        location / { return 200 "NAME $uri $host"; }
    }
"""
LONG = b"x" * 1500
HEADS = {
    "good": b"GET //x HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "other": b"GET //x HTTP/1.1\r\nHost: b.test\r\n\r\n",
    "unknown": b"GET //x HTTP/1.1\r\nHost: c.test\r\n\r\n",
    "old": b"GET //x HTTP/1.0\r\n\r\n",
    "trace": b"TRACE / HTTP/1.1\r\nHost: A.test:80\r\n\r\n",
    "trace of another": b"TRACE / HTTP/1.1\r\nHost: b.test\r\n\r\n",
    "trace of an unknown host": b"TRACE / HTTP/1.1\r\nHost: c.test\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: b.test\r\nHost: a.test\r\n\r\n",
    "bad host": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "bad line": b"GET\r\n\r\n",
    "bad method": b"G\x01T / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "small method": b"get / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "bad version": b"GET / HTTP/1.x\r\nHost: a.test\r\n\r\n",
    "late version": b"GET / HTTP/2.0\r\nHost: a.test\r\n\r\n",
    "bad target": b"GET x HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "bad escape": b"GET /%zz HTTP/1.1\r\nHost: b.test\r\n\r\n",
    "zero": b"GET /%00 HTTP/1.1\r\nHost: b.test\r\n\r\n",
    "above the root": b"GET /../x HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "length twice": b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "length twice before": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\nHost: a.test\r\n\r\n",
    "bad length": b"POST / HTTP/1.1\r\nContent-Length: x\r\nHost: a.test\r\n\r\n",
    "both framings": b"POST / HTTP/1.1\r\nHost: b.test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "long line": b"GET /" + LONG + b" HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "long field": b"GET / HTTP/1.1\r\nHost: a.test\r\nX: " + LONG + b"\r\n\r\n",
    "long field before": b"GET / HTTP/1.1\r\nX: " + LONG + b"\r\nHost: a.test\r\n\r\n",
    "absolute": b"TRACE http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "bad absolute": b"GET http://b.test/%zz HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "control character": b"GET / HTTP/1.1\r\nHost: a.test\r\nX: a\x00b\r\n\r\n",
}


def servers(tls: Files | None) -> str:
    """Return the configuration, with certificates or without."""
    made = []
    for name in NAMES:
        block = SERVER.replace("NAME", name).replace("MERGE", "on" if name == "default.test" else "off")
        made.append(block)
    text = CONF.replace("SERVERS", "".join(made))
    pair = tls.pair("a.test") if tls else ("", "")
    text = text.replace("CERT", f"ssl_certificate {pair[0]}; ssl_certificate_key {pair[1]};" if tls else "")
    return text.replace("LISTEN", "127.0.0.1:PORT ssl" if tls else "127.0.0.1:PORT")


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[int, int]]]:
    """The ports of nginx and of this proxy, by `plain` and `tls`."""
    folder = tmp_path_factory.mktemp("early")
    found = {}
    with ExitStack() as stack:
        for kind, files in (("plain", None), ("tls", Files(folder))):
            found[kind] = free_port(), free_port()
            text = servers(files)
            stack.enter_context(run_nginx(text.replace("PORT", str(found[kind][0])), folder))
            stack.enter_context(run_proxy(text.replace("PORT", str(found[kind][1])), folder))
        yield found


def shown(response: Response) -> dict[str, object]:
    body = response.body.partition(b"<hr>")[0]
    names = ("content-type", "x-server", "x-host")
    return {"status": response.status, "body": body} | {name: response.get_all(name) for name in names}


def ask(port: int, name: str, sni: str) -> dict[str, object]:
    tls = None
    if sni:
        import ssl

        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    data = HEADS[name].replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with Client(port, tls=tls, server_hostname=sni if sni != "none" else None) as client:
        return shown(client.exchange(data))


@pytest.mark.ours_alone("gunicorn's own workers answer a malformed head themselves")
@pytest.mark.parametrize("sni", ["", "none", "a.test", "c.test"])
@pytest.mark.parametrize("name", HEADS)
def test_the_server_of_a_malformed_request(ports: dict[str, tuple[int, int]], name: str, sni: str) -> None:
    theirs, ours = (ask(port, name, sni) for port in ports["tls" if sni else "plain"])
    assert ours == theirs


@pytest.mark.ours_alone("gunicorn's own workers answer a malformed head themselves")
def test_the_log_and_the_tokens_are_those_of_the_same_server(tmp_path: Path) -> None:
    port = free_port()
    blocks = "".join(
        f"server {{ listen 127.0.0.1:{port}; server_name {name}; server_tokens {tokens}; access_log {tmp_path}/{name}.log; }}"
        for name, tokens in (("first.test", "on"), ("second.test", "off"))
    )
    conf = f"worker_processes 1; events {{}} http {{ {blocks} }}"
    for run in (run_nginx, run_proxy):
        with run(conf, tmp_path):
            for data, name in (
                (b"TRACE /trace HTTP/1.1\r\nHost: second.test\r\n\r\n", "second.test"),
                (b"GET /%zz HTTP/1.1\r\nHost: second.test\r\n\r\n", "first.test"),
            ):
                with Client(port) as client:
                    page = client.exchange(data).body
                product = page.partition(b"<hr><center>")[2].partition(b"</center>")[0]
                assert product and (b"/" in product) is (name == "first.test")
                target = data.split()[1].decode()
                log = tmp_path / f"{name}.log"
                wait_until(lambda log=log, target=target: target in log.read_text(), f"{target} in the log of {name}")
        for name in ("first.test", "second.test"):
            (tmp_path / f"{name}.log").unlink()


@pytest.mark.ours_alone("gunicorn's own workers answer a malformed head themselves")
def test_the_host_of_a_redirect_from_an_error_page(tmp_path: Path) -> None:
    conf = """events {} http { access_log off; server { listen 127.0.0.1:@PORT@; server_name a.test;
        error_page 400 /moved; location / { return 200 $uri; } location /moved { return 301 /elsewhere; } } }"""
    heads = {
        name: HEADS[name] for name in ("no host", "bad host", "bad target", "bad escape", "bad length", "length twice before")
    }
    heads["dot"] = b"GET / HTTP/1.1\r\nHost: .\r\n\r\n"
    heads["after the host"] = b"GET / HTTP/1.1\r\nHost: c.test\r\nContent-Length: x\r\n\r\n"
    with compare_with_nginx(conf, tmp_path) as both:
        for head in heads.values():
            both.compare_bytes(head)


@pytest.mark.ours_alone("gunicorn's own workers decide about their connections")
def test_connections_end_after_the_errors_after_which_nginxs_do(tmp_path: Path) -> None:
    codes = (400, 401, 403, 404, 405, 408, 409, 413, 414, 415, 416, 429, 495, 496, 497, 500, 501, 502, 503, 504)
    pages = "".join(f"location /{code} {{ return {code}; }}" for code in codes)
    conf = f"""events {{}} http {{ access_log off; server {{ listen 127.0.0.1:@PORT@; {pages}
        location /page/ {{ error_page {" ".join(map(str, codes))} =200 /found; rewrite ^/page(/.*) $1; }}
        location /found {{ return 200 a; }} }}
        server {{ listen 127.0.0.1:@PORT@; server_name b; error_page {" ".join(map(str, codes))} /found;
        location /found {{ return 200 a; }} {pages} }} }}"""
    last = b"GET /found HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"
    with compare_with_nginx(conf, tmp_path) as both:
        for code in codes:
            for host in (b"a", b"b"):
                request = b"GET /%d HTTP/1.1\r\nHost: %s\r\n\r\n" % (code, host)
                seen = [
                    [
                        line
                        for line in send_raw(port, request + last).splitlines()
                        if line.startswith((b"HTTP/1.1", b"Connection:"))
                    ]
                    for port in (both.theirs, both.ours)
                ]
                assert seen[0] == seen[1], (code, host)
