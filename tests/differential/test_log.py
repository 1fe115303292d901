"""Every variable that one location can show, and lines of every kind of `log_format`, in real nginx and in ours."""

from __future__ import annotations

import random
import re
from base64 import b64encode
from pathlib import Path

import pytest

from tests.support import free_port, run_nginx
from tests.support.routing import Ours, Theirs
from wsgi_proxy.logs.accesslog import AccessLogs
from wsgi_proxy.nginx import reader as nginx
from wsgi_proxy.response import Page, Response

SHOWN = """
arg_k arg_K arg_none args binary_remote_addr content_length content_type cookie_a cookie_b cookie_none document_root document_uri
host hostname http_content_type http_cookie http_host http_none http_user_agent http_x_a https invalid_referer is_args
is_request_port limit_conn_status limit_rate limit_req_status nc nginx_version proxy_add_x_forwarded_for proxy_host proxy_port
proxy_protocol_addr proxy_protocol_port query_string realip_remote_addr realpath_root remote_addr remote_user request request_body
request_body_file request_filename request_method request_port request_uri scheme secure_link secure_link_expires sent_http_none
sent_trailer_x server_addr server_name server_port server_protocol ssl_cipher ssl_protocol unset_v upstream_addr
upstream_bytes_received upstream_bytes_sent upstream_cache_status upstream_connect_time upstream_cookie_x upstream_header_time
upstream_http_x upstream_response_length upstream_response_time upstream_status upstream_trailer_x uri v
""".split()
LOGGED = [*SHOWN, "body_bytes_sent", "pipe", "request_completion", "sent_http_content_type", "status"]
KINDS = ["default", "json", "none"]
TARGETS = [
    "/", "/nc1/x", "/nc?k=v", "/?k=1", "/?K=2&k=3", "/?a&k=&b", "/?xk=1&k=7", "/e", "/e?log=1", "/?log=1", "/?log=0",
    "/a%20b?k=%41", "/?k=q", "/?", "/x?none", "/?k",
]  # fmt: skip


def basic(text: str, scheme: str = "Basic") -> tuple[str, str]:
    return "Authorization", f"{scheme} {b64encode(text.encode()).decode()}"


FIELDS = [
    ("User-Agent", 'curl/8 "x" \\ \x7f\xe9\t'), ("User-Agent", "plain"), ("User-Agent", ""), ("X-A", "1"), ("Cookie", "a=1; b=2"),
    ("Cookie", "A=up"), ("Cookie", "xa=1; a = spaced ; b"), ("Cookie", "b=x,a=2"), ("Cookie", 'a=1;;b=" q"'),
    ("Content-Type", "text/x"), ("X-Forwarded-For", "1.2.3.4"), basic("user:pw"), basic("nocolon"), ("Authorization", "Bearer x"),
    basic(":pw", "basic"), ("Authorization", "Basic !!!"), ("Referer", 'http://r/"'),
]  # fmt: skip


def configuration(port: int, folder: Path, logs: Path) -> str:
    line = " ".join(f"{name}='${{{name}}}'" for name in LOGGED)
    show = " ".join(f"{name}='${{{name}}}'" for name in SHOWN)
    formats = " ".join(f'log_format f{kind} escape={kind} "{line}"; access_log {logs}/{kind}.log f{kind};' for kind in KINDS)
    return f"""events {{}}
    http {{
        {formats}
        access_log {logs}/condition.log combined if=$arg_log;
        server {{
            listen {port};
            server_name main.t;
            root {folder};
            set $v "set$arg_k";
            set $unset_v "";
            location ~ /nc(?<nc>.) {{ return 200 "{show}"; }}
            location / {{ if ($arg_k = q) {{ set $unset_v y; }} return 200 "{show}"; }}
            location /e {{ return 404; }}
        }}
    }}"""


def test_variables_and_log_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(100, "wsgi_proxy")
    dice = random.Random(1)
    port = free_port()
    mine, wanted = tmp_path / "ours", tmp_path / "theirs"
    mine.mkdir()
    wanted.mkdir()
    own_conf = configuration(port, tmp_path, mine)
    ours, logs = Ours(own_conf, port), AccessLogs(nginx.loads(own_conf))
    with run_nginx(configuration(port, tmp_path, wanted), tmp_path):
        theirs = Theirs(port)
        for _ in range(300):
            host = dice.choice(["main.t", "MAIN.t:80", "other", f"main.t:{port}"])
            fields = [("Host", host)]
            for field in dice.sample(FIELDS, dice.randint(0, 5)):
                if field[0] in ("Cookie", "X-A") or field[0] not in dict(fields):
                    fields.append(field)
            method, target = dice.choice(["GET", "GET", "HEAD"]), dice.choice(TARGETS)
            body = theirs.ask(method, target, fields)[3]
            x, response = ours.exchange(method, target, fields)
            if isinstance(response.outcome, Page):
                x.response = Response(response.status, [("Content-Type", "text/html")])
            else:
                assert b"".join(response.body) == body, (method, target, fields)
            x.completed, x.body_bytes_sent = True, len(body)
            logs.write(x)
        theirs.close()
    logs.close()
    for kind in [*KINDS, "condition"]:
        lines, expected = ((side / f"{kind}.log").read_bytes() for side in (mine, wanted))
        if kind == "condition":
            lines, expected = (re.sub(rb"\[[^]]*\]", b"", side) for side in (lines, expected))
        assert lines.splitlines() == expected.splitlines(), kind
    assert len(lines.splitlines()) > 20
