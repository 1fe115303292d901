"""`resolver` at each level, with name servers of the test: which one is asked, in nginx and here, and when."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support import Recorder, fetch, free_port, reply, run_nginx, run_proxy, wait_until
from tests.support.name_server import AAAA, A, NameServer, alias, ipv4, ipv6, service

LEVELS = {"http": "127.0.0.1", "server": "127.0.0.2", "location": "127.0.0.3", "upstream": "127.0.0.4"}
CONF = """
events {{}}
http {{
  access_log off;
  resolver {http} valid=30s ipv6=off;
  resolver_timeout 20s;
  upstream own {{ zone own 1m; resolver {upstream} valid=1s; server app.test:{port} resolve; }}
  upstream inherits {{ zone inherits 1m; server app.test:{port} resolve; }}
  server {{
    listen 127.0.0.1:{first};
    location /http {{ set $name app.test; proxy_pass http://$name:{port}; }}
    location /location {{ resolver {location} ipv4=on; set $name app.test; proxy_pass http://$name:{port}; }}
    location /own {{ proxy_pass http://own; }}
    location /inherits {{ proxy_pass http://inherits; }}
    location /unknown {{ set $name unknown.test; proxy_pass http://$name:{port}; }}
  }}
  server {{
    listen 127.0.0.1:{second};
    resolver {server};
    location /server {{ set $name app.test; proxy_pass http://$name:{port}; }}
    location /alias {{ set $name www.test; proxy_pass http://$name:{port}; }}
    location /own {{ proxy_pass http://own; }}
  }}
  server {{
    listen 127.0.0.1:{third};
    location /4 {{ resolver {location} ipv6=off; set $name both.test; proxy_pass http://$name:{port}; }}
    location /6 {{ resolver {location} ipv4=off; set $name both.test; proxy_pass http://$name:{port}; }}
  }}
}}
"""


class Place:
    """The name servers by level, and a recorder at each address that they give."""

    def __init__(self, stack: ExitStack) -> None:
        self.names = {level: stack.enter_context(NameServer()) for level in LEVELS}
        self.port = free_port()
        for level, address in LEVELS.items():
            self.names[level].records["app.test"] = [ipv4(address)]
            stack.enter_context(Recorder(lambda request, wire, level=level: reply(level.encode()), host=address, port=self.port))  # type: ignore[misc]
        stack.enter_context(Recorder(lambda request, wire: reply(b"six"), host="::1", port=self.port))
        self.names["server"].records |= {"www.test": [alias("edge.test")], "edge.test": [alias("app.test")]}
        self.names["location"].records["both.test"] = [ipv4("127.0.0.1"), ipv6("::1")]

    def conf(self, first: int, second: int, third: int) -> str:
        addresses = {level: server.address for level, server in self.names.items()}
        return CONF.format(port=self.port, first=first, second=second, third=third, **addresses)

    def asked(self, level: str, name: str = "app.test") -> list[int]:
        return [kind for asked, kind, _ in self.names[level].asked if asked == name]


@pytest.fixture
def place() -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(stack)


@pytest.mark.parametrize("run", [run_nginx, run_proxy])
def test_the_nearest_resolver_is_asked(run: Any, place: Place, tmp_path: Path) -> None:
    first, second, third = free_port(), free_port(), free_port()
    with run(place.conf(first, second, third), tmp_path):
        # nginx resolves the names of upstream blocks after the start.
        wait_until(lambda: fetch(first, "/own").status == 200 and fetch(first, "/inherits").status == 200, "the upstream blocks")
        bodies = {
            path: fetch(port, path).body
            for port, path in [
                (first, "/http"), (first, "/location"), (first, "/own"), (first, "/inherits"), (second, "/server"),
                (second, "/alias"), (second, "/own"), (third, "/4"), (third, "/6"),
            ]
        }  # fmt: skip
        assert fetch(first, "/unknown").status == 502
    assert bodies == {
        "/http": b"http", "/location": b"location", "/own": b"upstream", "/inherits": b"http", "/server": b"server",
        "/alias": b"server", "/4": b"http", "/6": b"six",
    }  # fmt: skip
    assert set(place.asked("http")) == {A}, "ipv6=off"
    assert set(place.asked("location")) == {A, AAAA}, "the families are not inherited"
    assert set(place.asked("location", "both.test")) == {A, AAAA}


@pytest.mark.parametrize("run", [run_nginx, run_proxy])
def test_names_are_renewed_in_the_background(run: Any, place: Place, tmp_path: Path) -> None:
    first, second, third = free_port(), free_port(), free_port()
    server = place.names["upstream"]
    with run(place.conf(first, second, third), tmp_path):
        wait_until(lambda: fetch(first, "/own").body == b"upstream", "the first address")
        server.records["app.test"] = [ipv4(LEVELS["http"])]
        before = len(server.asked)
        # The second query after the change follows the first one's result.
        wait_until(lambda: len([kind for _, kind, _ in server.asked[before:] if kind == A]) >= 2, "queries without a request")
        assert fetch(first, "/own").body == b"http"
        # A failure is retried by `valid=`, and the address stays.
        server.code = 2
        before = len(server.asked)
        wait_until(lambda: len(server.asked) > before + 1, "queries after a failure")
        assert fetch(first, "/own").body == b"http"
        server.code, server.records["app.test"] = 0, [ipv4(LEVELS["server"])]
        wait_until(lambda: fetch(first, "/own").body == b"server", "the new address")


def test_the_next_request_to_an_expired_name_of_variables_gets_its_new_address(place: Place, tmp_path: Path) -> None:
    first, second, third = free_port(), free_port(), free_port()
    server = place.names["location"]
    server.records["app.test"] = [ipv4(LEVELS["location"], 1)]
    with run_proxy(place.conf(first, second, third), tmp_path):
        assert fetch(first, "/location").body == b"location"
        server.records["app.test"] = [ipv4(LEVELS["http"], 1)]
        before = len(server.asked)

        def asked_again() -> bool:
            body = fetch(first, "/location").body
            # The request that asked waited for the resolver.
            assert body == (b"http" if len(server.asked) > before else b"location")
            return len(server.asked) > before

        wait_until(asked_again, "the expiry")


SERVICES = """
events {{}}
http {{
  access_log off;
  resolver {names} ipv6=off;
  upstream short {{ zone short 1m; server app.test service=http resolve; }}
  upstream long {{ zone long 1m; server app.test service=_http._tcp resolve; }}
  upstream dotted {{ zone dotted 1m; server app.test service=one.two resolve; }}
  upstream weighted {{ zone weighted 1m; server app.test service=http resolve weight=3; }}
  upstream spare {{ zone spare 1m; server 127.0.0.4:{dead} max_fails=0; server app.test service=http resolve backup; }}
  upstream second {{ zone second 1m; server lost.test service=http resolve; }}
  server {{
    listen 127.0.0.1:{port};
    location ~ ^/(short|long|dotted|weighted|spare|second)$ {{ proxy_pass http://$1; }}
  }}
}}
"""


def counted(run: Any, folder: Path) -> dict[str, list[int]]:
    """Return the number of requests out of 12 that each address got, by upstream block."""
    port, dead, up = free_port(), free_port(), free_port()
    with ExitStack() as stack:
        names = stack.enter_context(NameServer())
        hosts = [f"127.0.0.{number}" for number in (1, 2, 3)]
        for number, host in enumerate(hosts):
            names.records[f"h{number}.test"] = [ipv4(host)]
            stack.enter_context(Recorder(lambda request, wire, host=host: reply(host.encode()), host=host, port=up))  # type: ignore[misc]
        names.records["_http._tcp.app.test"] = [
            service(20, 1, up, "h2.test"), service(10, 5, up, "h0.test"), service(10, 1, up, "h1.test"),
            service(10, 1, up, "gone.test"),
        ]  # fmt: skip
        names.records["one.two.app.test"] = [service(1, 0, up, "h1.test")]
        names.records["_http._tcp.lost.test"] = [service(1, 1, dead, "h0.test"), service(2, 1, up, "h2.test")]
        with run(SERVICES.format(names=names.address, port=port, dead=dead), folder):
            found = {}
            for name in ("short", "long", "dotted", "weighted", "spare", "second"):
                wait_until(lambda name=name: fetch(port, f"/{name}").status == 200, name)  # type: ignore[misc]
                bodies = [fetch(port, f"/{name}").body.decode() for _ in range(12)]
                found[name] = [bodies.count(host) for host in hosts]
    return found


def test_services_by_their_records(tmp_path: Path) -> None:
    ours = counted(run_proxy, tmp_path)
    assert ours == counted(run_nginx, tmp_path)
    assert ours["short"] == [10, 2, 0] and ours["second"] == [0, 0, 12]
