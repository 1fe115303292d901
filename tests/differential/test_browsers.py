"""ngx_http_browser_module and `keepalive_disable` beside nginx."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import send_raw
from tests.support.comparison import Comparison, compare_with_nginx

SERVERS = {
    "none": "",
    "msie": "modern_browser msie 5.0;",
    "several": "modern_browser msie 5.5; modern_browser gecko 1.0.0; modern_browser opera 9.0; modern_browser safari 413;",
    "unlisted": "modern_browser unlisted; ancient_browser 'MSIE 5' netscape4 Lynx;",
    "unlisted and listed": "modern_browser konqueror 3.4; modern_browser unlisted; ancient_browser Lynx;",
    "ancient": "modern_browser gecko 1.5; ancient_browser Lynx;",
    "values": "modern_browser MSIE 6; modern_browser_value m; ancient_browser_value a;",
    "inherited": "modern_browser msie 6; ancient_browser_value a; location / { ancient_browser x; return 200 $text; }",
    "replaced": "modern_browser msie 4; location / { modern_browser gecko 1; return 200 $text; }",
}
AGENTS = """
Opera/7.50 (X11; FreeBSD i386; U)  [en]
Mozilla/4.0 (compatible; MSIE 6.0; X11; FreeBSD i386) Opera 9.50  [en]
Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)
Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)
Mozilla/4.0 (compatible; MSIE 5.5; Windows)
Mozilla/4.0 (compatible; MSIE 4.0; Windows 95)
Mozilla/4.0 (compatible; MSIE 10.0; Windows)
Mozilla/4.72 [en] (X11; U; Linux)
Mozilla/5.0 (X11; U; Linux i686; en-US; rv:1.0.0) Gecko/20020610
Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Firefox/115.0
Mozilla/5.0 (Macintosh; U; PPC Mac OS X; en) AppleWebKit/418 (KHTML, like Gecko) Safari/417.9.3
Mozilla/5.0 (Macintosh; U; PPC Mac OS X; en) AppleWebKit/418 (KHTML, like Gecko) Chrome/99 Safari/417.9.3
Mozilla/5.0 (compatible; Konqueror/3.4; Linux) KHTML/3.4.2 (like Gecko)
Mozilla/5.0 (compatible; Konqueror/3.1; Linux)
Lynx/2.8
MSIE 5.0
MSIE 7.0
Opera
x
""".strip().splitlines()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comparison]:
    servers = [
        f"server {{ listen 127.0.0.1:@PORT@; server_name s{number}.t; set $text '$modern_browser|$ancient_browser|$msie'; {text} "
        f"{'' if 'location' in text else 'location / { return 200 $text; }'} }}"
        for number, text in enumerate(SERVERS.values())
    ]
    kept = """server { listen 127.0.0.1:@PORT@; server_name kept.t; root @FOLDER@; location / { return 200 a; }
        location /safari { keepalive_disable safari; return 200 a; } location /none { keepalive_disable none; return 200 a; }
        location /both { keepalive_disable safari msie6; return 200 a; } }"""
    conf = f"worker_processes 1; error_log stderr crit; events {{}} http {{ access_log off; {kept} {' '.join(servers)} }}"
    with compare_with_nginx(conf, tmp_path_factory.mktemp("browsers")) as both:
        yield both


@pytest.mark.parametrize("name", SERVERS)
def test_browsers_count_as_in_nginx(both: Comparison, name: str) -> None:
    host = ("Host", f"s{list(SERVERS).index(name)}.t")
    both.compare("/", fields=[host])
    for agent in AGENTS:
        both.compare("/", fields=[host, ("User-Agent", agent)])


@pytest.mark.ours_alone("gunicorn's own workers decide about their connections")
@pytest.mark.parametrize("target", ["/", "/safari", "/none", "/both"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_connections_of_old_browsers_are_closed(both: Comparison, target: str, method: str) -> None:
    for agent in AGENTS:
        length = "Content-Length: 0\r\n" if method == "POST" else ""
        request = f"{method} {target} HTTP/1.1\r\nHost: kept.t\r\nUser-Agent: {agent}\r\n{length}\r\n".encode()
        last = f"{method} /none HTTP/1.1\r\nHost: kept.t\r\nConnection: close\r\n{length}\r\n".encode()
        seen = [
            [line for line in send_raw(port, request + last).splitlines() if line.startswith((b"HTTP/1.1", b"Connection:"))]
            for port in (both.theirs, both.ours)
        ]
        assert seen[0] == seen[1], (agent, seen)
