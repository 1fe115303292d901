"""Discovery of servers by a real name server: addresses and services that appear, leave and are away."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support import Client, Recorder, Running, fetch, free_port, reply, run_proxy, wait_until
from tests.support.dnsmasq import Dnsmasq

WEB = "web.shop.svc.cluster.local"
CONF = """
worker_processes 2;
events {{}}
http {{
  access_log off;
  resolver {names} ipv6=off;
  resolver_timeout 5s;
  upstream app {{ zone app 1m; {server} }}
  server {{
    listen 127.0.0.1:{port};
    proxy_connect_timeout 5s;
    location / {{ proxy_pass http://app; }}
    location = /status {{ wsgi_proxy_status json; }}
  }}
}}
"""


class Pods:
    """Recorders at addresses of the loopback network, all at one port. A request for /held ends when `release` is set."""

    def __init__(self, stack: ExitStack, number: int) -> None:
        self.port = free_port()
        self.held, self.release = threading.Semaphore(0), threading.Event()
        self.hosts = [f"127.0.1.{each + 1}" for each in range(number)]
        for host in self.hosts:
            stack.enter_context(Recorder(lambda request, wire, host=host: self._answer(request, host), host=host, port=self.port))  # type: ignore[misc]

    def _answer(self, request: object, host: str) -> bytes:
        if getattr(request, "target", "") in ("/held", b"/held"):
            self.held.release()
            assert self.release.wait(60)
        return reply(host.encode())


@contextmanager
def place(folder: Path, server: str, pods: int = 3, ttl: int = 1) -> Iterator[tuple[Dnsmasq, Pods, str, int]]:
    """The name server, the pods, the configuration and its port. `server` may name {port}, that of the pods."""
    with ExitStack() as stack:
        names = stack.enter_context(Dnsmasq(folder, ttl))
        running = Pods(stack, pods)
        port = free_port()
        yield names, running, CONF.format(names=names.address, server=server.format(port=running.port), port=port), port


def hosts_of(port: int, requests: int = 12) -> Counter[str]:
    """Return the number of requests by server; each must succeed."""
    found: Counter[str] = Counter()
    for _ in range(requests):
        response = fetch(port, "/")
        assert response.status == 200
        found[response.body.decode()] += 1
    return found


def test_the_addresses_of_a_headless_service_are_followed(tmp_path: Path) -> None:
    with place(tmp_path, f"server {WEB}:{{port}} resolve;") as (names, pods, conf, port):
        one, two, three = pods.hosts
        names.set({WEB: [one]})
        with run_proxy(conf, tmp_path):
            assert set(hosts_of(port)) == {one}
            names.set({WEB: [one, two, three]})
            wait_until(lambda: set(hosts_of(port)) == {one, two, three}, "the new addresses")
            names.set({WEB: [three]})
            wait_until(lambda: set(hosts_of(port)) == {three}, "the end of the old addresses")


def test_a_request_in_progress_ends_at_an_address_that_leaves(tmp_path: Path) -> None:
    with place(tmp_path, f"server {WEB}:{{port}} resolve;") as (names, pods, conf, port):
        one, two, _ = pods.hosts
        names.set({WEB: [one]})
        with run_proxy(conf, tmp_path), Client(port) as client:
            client.send(b"GET /held HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert pods.held.acquire(timeout=60)
            names.set({WEB: [two]})
            wait_until(lambda: set(hosts_of(port)) == {two}, "the new address")
            pods.release.set()
            assert client.read_response().body == one.encode()
            # Each worker takes in the new address at its own next look.
            wait_until(lambda: set(hosts_of(port)) == {two}, "the new address in every worker")


def test_an_address_that_joins_starts_slowly(tmp_path: Path) -> None:
    server = f"least_conn; server {WEB}:{{port}} resolve slow_start=1h;"
    with place(tmp_path, server) as (names, pods, conf, port):
        one, two, three = pods.hosts
        names.set({WEB: [one, two]})
        with run_proxy(conf, tmp_path):
            # The servers of the start have their whole weight.
            first = hosts_of(port, 40)
            assert min(first[one], first[two]) >= 15
            names.set({WEB: [one, two, three]})
            wait_until(lambda: three in str(fetch(port, "/status").body), "the new address")
            # Each worker asks the name server once a second. The new server's weight is a 64th of the others' for a minute.
            later = hosts_of(port, 60)
            assert later[three] <= 4 and min(later[one], later[two]) >= 20


@pytest.mark.parametrize("domain", ["svc.cluster.local", "service.consul"])
def test_services_have_priorities_weights_and_ports(tmp_path: Path, domain: str) -> None:
    with place(tmp_path, f"server {domain} service=web resolve;") as (names, pods, conf, port):
        one, two, three = pods.hosts
        hosts = {f"pod-{number}.{domain}": [host] for number, host in enumerate(pods.hosts)}
        first = [(f"pod-0.{domain}", pods.port, 1, 3), (f"pod-1.{domain}", pods.port, 1, 1), (f"pod-2.{domain}", pods.port, 2, 1)]
        names.restart({f"_web._tcp.{domain}": first})
        names.set(hosts)
        with run_proxy(conf, tmp_path):
            assert hosts_of(port) == {one: 9, two: 3}
            # The preferred ones leave: the backup takes their place.
            names.restart({f"_web._tcp.{domain}": first[2:]})
            wait_until(lambda: set(hosts_of(port)) == {three}, "the service of the second priority")
            # The preferred ones return, one at a port without a listener.
            names.restart({f"_web._tcp.{domain}": [(first[0][0], free_port(), 1, 1), first[1], first[2]]})
            wait_until(lambda: set(hosts_of(port)) == {two}, "the next server of the priority")


def test_a_name_server_that_is_away_takes_no_address_and_one_that_knows_no_name_takes_all(tmp_path: Path) -> None:
    with place(tmp_path, f"server {WEB}:{{port}} resolve;") as (names, pods, conf, port):
        one, two, _ = pods.hosts
        names.set({WEB: [one]})
        conf = conf.replace("ipv6=off", "ipv6=off valid=1s").replace("worker_processes 2", "worker_processes 1")
        with run_proxy(conf, tmp_path) as server:
            assert set(hosts_of(port)) == {one}
            names.set({})
            wait_until(lambda: fetch(port).status == 502, "a response that the name does not exist")
            names.set({WEB: [one]})
            wait_until(lambda: fetch(port).status == 200, "the old address")
            names.stop()
            wait_until(lambda: failed_to_connect(server), "a failed query")
            assert set(hosts_of(port)) == {one}
            names.start()
            names.set({WEB: [two]})
            wait_until(lambda: set(hosts_of(port)) == {two}, "the new address")


def failed_to_connect(server: Running) -> bool:
    return "Connection refused" in server.log() or "timed out" in server.log()


def test_records_without_a_lifetime_are_not_asked_for_at_each_request(tmp_path: Path) -> None:
    with place(tmp_path, f"server {WEB}:{{port}} resolve;", ttl=0) as (names, pods, conf, port):
        names.set({WEB: [pods.hosts[0]]})
        with run_proxy(conf.replace("worker_processes 2", "worker_processes 1"), tmp_path):
            hosts_of(port, 5)
            wait_until(lambda: names.log().count(f"query[A] {WEB}") >= 3, "queries in the background")
            names.set({WEB: [pods.hosts[1]]})
            wait_until(lambda: set(hosts_of(port, 3)) == {pods.hosts[1]}, "the new address")
            before, requests = names.log().count(f"query[A] {WEB}"), 0
            while names.log().count(f"query[A] {WEB}") < before + 2:
                hosts_of(port, 10)
                requests += 10
            assert requests >= 20


def test_a_response_longer_than_a_datagram_is_read_over_tcp(tmp_path: Path) -> None:
    with place(tmp_path, f"server {WEB}:{{port}} resolve max_fails=1 fail_timeout=1h;", pods=1) as (names, pods, conf, port):
        # No process listens at the other addresses of a service with 201 pods.
        absent = [f"127.0.2.{number + 1}" for number in range(200)]
        names.set({WEB: [*absent, pods.hosts[0]]})
        with run_proxy(conf, tmp_path):
            assert fetch(port, "/").body.decode() == pods.hosts[0]
            text = fetch(port, "/status").body.decode()
            assert all(f'"{address}:{pods.port}"' in text for address in absent)
