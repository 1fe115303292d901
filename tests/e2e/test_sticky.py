"""`sticky learn` and `sticky route` in whole proxies: as in nginx, for all workers, over reloads and over machines."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support import Recorded, Recorder, Wire, fetch, free_port, reply, run_nginx, run_proxy, wait_until
from tests.support.redis import KINDS, RedisServer

CONF = """
worker_processes {workers};
error_log stderr notice;
events {{}}
http {{
    access_log off;
    {cluster}
    upstream u {{ zone u 64k; {servers} {sticky} }}
    server {{
        listen {port};
        location / {{ proxy_pass http://u; proxy_connect_timeout 2s; }}
    }}
}}
"""
LEARN = "sticky learn create=$upstream_cookie_s create=$upstream_http_x_session lookup=$cookie_s lookup=$arg_s zone=s:64k"


def responder(name: str) -> Callable[[Recorded, Wire], bytes]:
    """An application that begins the session of `?new=` by a cookie, and that of `?field=` by a field."""

    def respond(request: Recorded, wire: Wire) -> bytes:
        query = parse_qs(urlsplit(request.target).query)
        headers = [("Set-Cookie", f"s={value}; Path=/") for value in query.get("new", ())]
        headers += [("X-Session", value) for value in query.get("field", ())]
        return reply(name.encode(), headers=headers)

    return respond


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Recorder]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Recorder(responder(name))) for name in ("first", "second", "third")]


def configuration(port: int, servers: list[Recorder], sticky: str, workers: int = 1, cluster: str = "") -> str:
    lines = " ".join(f"server 127.0.0.1:{server.port} route={name};" for name, server in zip("abc", servers, strict=True))
    return CONF.format(port=port, servers=lines, sticky=sticky, workers=workers, cluster=cluster)


def ask(port: int, target: str, cookie: str = "") -> str:
    response = fetch(port, target, headers=[("Cookie", cookie)] if cookie else [])
    assert response.status == 200
    return response.body.decode()


STEPS = [
    ("/?new=1", ""), ("/?new=2", ""), ("/", "s=1"), ("/", "s=2"), ("/", "s=1"), ("/", "s=none"), ("/?field=3", ""),
    ("/?s=3", ""), ("/?s=3", "s=2"), ("/?new=1", "s=2"), ("/", "s=1"), ("/", "s=2"), ("/?s=1", ""), ("/", "a=b; s=1"), ("/", ""),
]  # fmt: skip


@pytest.mark.parametrize("header", ["", " header"])
def test_sessions_are_learned_as_in_nginx(servers: list[Recorder], tmp_path: Path, header: str) -> None:
    """Step for step the same server as nginx, whose turns go on beside the sessions'."""
    seen = []
    for run in (run_nginx, run_proxy):
        port = free_port()
        with run(configuration(port, servers, f"{LEARN}{header};"), tmp_path):
            seen.append([ask(port, target, cookie) for target, cookie in STEPS])
    assert seen[0] == seen[1]
    assert seen[1][0] == seen[1][2] and seen[1][1] == seen[1][3]


def test_routes_are_followed_as_in_nginx(servers: list[Recorder], tmp_path: Path) -> None:
    seen = []
    for run in (run_nginx, run_proxy):
        port = free_port()
        with run(configuration(port, servers, "sticky route $cookie_route $arg_route;"), tmp_path):
            steps = [
                ("/", ""),
                ("/", "route=c"),
                ("/?route=a", "route=b"),
                ("/?route=a", ""),
                ("/?route=x", ""),
                ("/", "route=x"),
            ]
            seen.append([ask(port, target, cookie) for target, cookie in steps * 2])
    assert seen[0] == seen[1]
    assert seen[1][1:4] == ["third", "second", "first"]


def test_all_workers_know_a_session_and_a_reload_keeps_it(servers: list[Recorder], tmp_path: Path) -> None:
    port = free_port()
    text = configuration(port, servers, f"{LEARN};", workers=2)
    with run_proxy(text, tmp_path) as server:
        bound = {name: ask(port, f"/?new={name}") for name in "abcdef"}
        assert len(set(bound.values())) == 3
        for name, place in bound.items():
            assert {ask(port, "/", f"s={name}") for _ in range(10)} == {place}
        (tmp_path / "proxy" / "nginx.conf").write_text(text.replace("connect_timeout 2s", "connect_timeout 3s"))
        before = set(server.children())
        server.signal(signal.SIGHUP)
        wait_until(lambda: not before & set(server.children()))
        for name, place in bound.items():
            assert {ask(port, "/", f"s={name}") for _ in range(10)} == {place}


def test_a_session_of_a_dead_server_moves(tmp_path: Path) -> None:
    with ExitStack() as stack:
        mortal = [Recorder(responder(name)) for name in ("first", "second", "third")]
        for each in mortal:
            stack.enter_context(each)
        port = free_port()
        with run_proxy(configuration(port, mortal, f"{LEARN};"), tmp_path):
            place = ask(port, "/?new=1")
            assert ask(port, "/", "s=1") == place
            mortal[["first", "second", "third"].index(place)].stop()
            moved = ask(port, "/?new=1", "s=1")
            assert moved != place
            assert {ask(port, "/", "s=1") for _ in range(6)} == {moved}


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_learned_by_one_machine_is_honoured_by_all(servers: list[Recorder], tmp_path: Path, kind: str) -> None:
    """Four machines of two workers each; Redis dies, comes back empty, and hangs."""
    with RedisServer(tmp_path, kind) as redis, ExitStack() as stack:
        ports = [free_port() for _ in range(4)]
        cluster = f"wsgi_proxy_cluster {redis.url} name=test timeout=1s;"
        running = []
        for number, port in enumerate(ports):
            text = configuration(port, servers, f"{LEARN} sync;", workers=2, cluster=cluster)
            running.append(stack.enter_context(run_proxy(text, tmp_path / str(number))))

        def everywhere(name: str, place: str) -> bool:
            return all(ask(port, "/", f"s={name}") == place for port in ports for _ in range(6))

        bound = {f"n{number}": ask(ports[number % 4], f"/?new=n{number}") for number in range(8)}
        for name, place in bound.items():
            wait_until(lambda name=name, place=place: everywhere(name, place))  # type: ignore[misc]
        redis.process.kill()
        redis.process.wait(30)
        assert all(everywhere(name, place) for name, place in bound.items())
        bound["alone"] = ask(ports[0], "/?new=alone")
        assert {ask(ports[0], "/", "s=alone") for _ in range(6)} == {bound["alone"]}
        redis.socket.unlink(missing_ok=True)
        redis.start()
        for name, place in bound.items():
            wait_until(lambda name=name, place=place: everywhere(name, place))  # type: ignore[misc]
        redis.process.send_signal(signal.SIGSTOP)
        try:
            bound["hung"] = ask(ports[1], "/?new=hung")
            assert {ask(ports[1], "/", "s=hung") for _ in range(6)} == {bound["hung"]}
        finally:
            redis.process.send_signal(signal.SIGCONT)
        wait_until(lambda: everywhere("hung", bound["hung"]))
        assert any("the cluster's Redis answers again" in server.log() for server in running)
