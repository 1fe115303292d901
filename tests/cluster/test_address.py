"""Addresses of the cluster's Redis: their parts, and the server that Sentinels and nodes name."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis
from redis.connection import SSLConnection

from tests.support import wait_until
from tests.support.redis_cluster import RedisCluster, Sentinels
from wsgi_proxy.cluster import Address, Link, Script
from wsgi_proxy.config import Cluster

ADD = Script("return redis.call('INCR', KEYS[1])")
KEY = "wsgi-proxy:{test}"


def test_one_server() -> None:
    assert Address("redis://h:7000/3").options["port"] == 7000
    assert Address("redis://h:7000/3").hosts == []
    assert Address("unix:///run/x").options["path"] == "/run/x"


def test_sentinels_with_their_service() -> None:
    found = Address("redis+sentinel://u:p%40@a,b:7000,[::1]:7001/shop/2?sentinel_password=s&socket_keepalive=1")
    assert found.hosts == [("a", 26379), ("b", 7000), ("::1", 7001)] and found.service == "shop"
    assert {key: found.options[key] for key in ("username", "password", "db")} == {"username": "u", "password": "p@", "db": 2}
    # Their account is not that of Redis.
    assert found.asking == {"password": "s"}


def test_nodes_of_a_redis_cluster_over_tls() -> None:
    found = Address("rediss+cluster://a,b:7000?ssl_ca_certs=/ca.pem")
    assert found.hosts == [("a", 6379), ("b", 7000)]
    assert found.options["connection_class"] is SSLConnection and found.options["ssl_ca_certs"] == "/ca.pem"
    assert Address("rediss+sentinel://a/s").asking["connection_class"] is SSLConnection


@pytest.mark.parametrize(
    "text",
    ["http://h/", "redis+sentinel://h", "redis+sentinel://h/", "redis+sentinel:///s", "redis+sentinel://h:x/s",
     "redis+sentinel://a,,b/s", "redis+cluster://h/1", "redis://h?nonsense=1", "redis+other://h"],
)  # fmt: skip
def test_a_text_that_is_no_address(text: str) -> None:
    with pytest.raises(OSError, match="invalid address"):
        Address(text)


def test_the_primary_that_sentinels_name(tmp_path: Path) -> None:
    with Sentinels(tmp_path) as servers:
        # The first Sentinel does not answer; the next one takes its place.
        address = Address(servers.url.replace("://", "://127.0.0.1:1,"))
        connection = address.connect(10)
        assert connection.port == servers.primary
        assert address.hosts[0][1] == servers.sentinel
        connection.disconnect()
        with pytest.raises(OSError, match='does not know "other"'):
            Address(servers.url.replace("/shop", "/other")).connect(10)


def test_a_server_that_the_sentinels_name_too_early_is_not_used(tmp_path: Path) -> None:
    with Sentinels(tmp_path) as servers:
        with Redis(port=servers.primary) as primary:
            primary.replicaof("127.0.0.1", str(servers.replica))
            with pytest.raises(OSError, match="is a slave, a failover is in progress"):
                Address(servers.url).connect(10)
            primary.replicaof("NO", "ONE")


def test_the_node_that_has_the_keys(tmp_path: Path) -> None:
    with RedisCluster(tmp_path) as cluster:
        found = Address(cluster.url, KEY)
        connection = found.connect(10)
        assert connection.port == cluster.owner(KEY)
        assert {port for _, port in found.hosts} == set(cluster.ports), "any of them can be asked when the first is gone"
        connection.disconnect()


def test_keys_that_move_to_another_node_are_followed(tmp_path: Path) -> None:
    with RedisCluster(tmp_path) as cluster:
        link = Link(Cluster(cluster.url, "test", 10.0))
        assert link.run(ADD, [KEY], []) == 1
        before = cluster.owner(KEY)
        cluster.move(KEY)
        assert cluster.owner(KEY) != before
        with pytest.raises(OSError, match="MOVED|moved|127.0.0.1"):
            link.run(ADD, [KEY], [])

        def again() -> bool:
            try:
                return bool(link.run(ADD, [KEY], []) == 2)
            except OSError:
                return False

        wait_until(again, "the other node")
        link.close()
