"""Several redis-servers for tests: a primary with its replica and a Sentinel, and a Redis Cluster."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from redis import Redis
from redis.crc import key_slot

from .ports import accepts, free_port, wait_until


class _Server:
    """One redis-server on a TCP port, in a directory named after it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.port = free_port()
        self._folder = folder / str(self.port)
        self._folder.mkdir()
        self._arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str, conf: str = "") -> None:
        """Start with these further arguments, or with a configuration that the server may rewrite (Sentinel)."""
        command = ["redis-server"]
        if conf:
            (self._folder / "redis.conf").write_text(f"port {self.port}\ndir {self._folder}\nlogfile log\n{conf}")
            command.append(str(self._folder / "redis.conf"))
        else:
            command += [
                "--port",
                str(self.port),
                "--dir",
                str(self._folder),
                "--save",
                "",
                "--appendonly",
                "no",
                "--logfile",
                "log",
            ]
        command += [*self._arguments, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(lambda: accepts(self.port), f"Redis on {self.port}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)


class Sentinels:
    """A context manager: a primary, its replica, and one Sentinel that makes the replica the primary when that one is gone.

    `primary`, `replica` and `sentinel` are the ports of the start.
    """

    def __init__(self, folder: Path) -> None:
        self._servers = [_Server(folder) for _ in range(2)]
        self._sentinel = _Server(folder, "--sentinel")
        self.primary, self.replica = (server.port for server in self._servers)
        self.sentinel = self._sentinel.port
        self.url = f"redis+sentinel://127.0.0.1:{self.sentinel}/shop"

    def __enter__(self) -> Sentinels:
        try:
            self._servers[0].start()
            self._servers[1].start("--replicaof", "127.0.0.1", str(self.primary), "--repl-diskless-sync-delay", "0")
            watched = f"sentinel monitor shop 127.0.0.1 {self.primary} 1\nsentinel down-after-milliseconds shop 1000\n"
            self._sentinel.start(conf=f"{watched}sentinel failover-timeout shop 3000\n")
            with Redis(port=self.sentinel) as client:
                wait_until(lambda: client.sentinel_master("shop")["num-slaves"] == 1, "the replica to be known")
                wait_until(lambda: self._linked(), "the replica to be up to date")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        for server in (self._sentinel, *self._servers):
            server.stop()

    def _linked(self) -> bool:
        with Redis(port=self.replica) as client:
            found: Any = client.info("replication")
        return bool(found["master_link_status"] == "up")

    def process(self, port: int) -> subprocess.Popen[bytes]:
        """Return the process of the server on a port."""
        (server,) = [server for server in self._servers if server.port == port]
        assert server.process is not None
        return server.process

    def start(self, port: int) -> None:
        """Start the server on a port again after it was killed; the Sentinel makes it a replica."""
        (server,) = [server for server in self._servers if server.port == port]
        server.stop()
        server.start()

    def present(self) -> int:
        """Return the port of the present primary, as the Sentinel knows it."""
        with Redis(port=self.sentinel) as client:
            found: Any = client.sentinel_get_master_addr_by_name("shop")
        return int(found[1])


class RedisCluster:
    """A context manager: a Redis Cluster of three nodes without replicas. `url` names only the first node."""

    def __init__(self, folder: Path) -> None:
        self._servers = [_Server(folder, "--cluster-enabled", "yes", "--cluster-port", str(free_port())) for _ in range(3)]
        self.ports = [server.port for server in self._servers]
        self.url = f"redis+cluster://127.0.0.1:{self.ports[0]}"

    def __enter__(self) -> RedisCluster:
        try:
            for server in self._servers:
                server.start()
            hosts = [f"127.0.0.1:{port}" for port in self.ports]
            command = ["redis-cli", "--cluster", "create", *hosts, "--cluster-yes"]
            subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL)
            wait_until(lambda: all(self._ready(port) for port in self.ports), "the cluster")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        for server in self._servers:
            server.stop()

    def _ready(self, port: int) -> bool:
        with Redis(port=port) as client:
            found: Any = client.execute_command("CLUSTER INFO")
        return bool(found["cluster_state"] == "ok")

    def owner(self, key: str) -> int:
        """Return the port of the node with a key, by the first node's table."""
        slot = key_slot(key.encode())
        with Redis(port=self.ports[0]) as client:
            found: Any = client.execute_command("CLUSTER SLOTS")
        return next(int(node[1]) for first, last, node, *_ in found if first <= slot <= last)

    def move(self, key: str) -> None:
        """Give a key's slot, with its keys, to another node."""
        before = self.owner(key)
        after = next(port for port in self.ports if port != before)
        slot = key_slot(key.encode())
        names = {}
        for port in self.ports:
            with Redis(port=port) as client:
                found: Any = client.execute_command("CLUSTER MYID")
                names[port] = found if isinstance(found, str) else found.decode()
        with Redis(port=before) as source, Redis(port=after) as target:
            target.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[before])
            source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[after])
            for each in source.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
                source.execute_command("MIGRATE", "127.0.0.1", after, each, 0, 10000)
        for port in (after, before, *self.ports):
            with Redis(port=port) as client:
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", names[after])
