"""The address of the cluster's Redis: one server, or servers that know which one has the data at the moment.

Rules:
- `redis://`, `rediss://` and `unix://` are redis-py's. `redis+sentinel://host:port,host:port/service/db` names Sentinels and
  their service, `redis+cluster://host:port,host:port` nodes of a Redis Cluster, and `rediss+` uses TLS. redis-py has no such
  addresses. These are the ones of the package `limits`.
- Every connection asks anew which server is the primary, and is used only if that server agrees (Redis documentation, Sentinel
  clients).
- In a Redis Cluster all keys have one hash tag, so that one node has them all (Redis documentation, cluster specification).
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

_MISSING: Final = 'the package "redis" is not installed: pip install "wsgi-proxy-nginx[redis]"'
_SEVERAL: Final = re.compile(r"(rediss?)\+(sentinel|cluster)://")
_PORTS: Final = {"sentinel": 26379, "cluster": 6379}

Host = tuple[str, int]


class Address:
    """A parsed address. `key` is one of the keys that the connection is for. Raise OSError if the text is no address."""

    def __init__(self, text: str, key: str = "") -> None:
        found = _SEVERAL.match(text)
        self.kind = found[2] if found else "server"
        self.key = key
        self.service = ""
        self.hosts: list[Host] = []
        """The Sentinels, or nodes of the Redis Cluster. The last one that answered is the first."""
        self.asking: dict[str, Any] = {}
        """The options of connections to Sentinels."""
        try:
            self.options = self._several(text, found[1]) if found else _options(text)
            # The constructor refuses unknown options; it does not connect.
            _connection({**self.options})
        except (ValueError, TypeError) as error:
            raise OSError(f'invalid address "{text}": {error}') from None

    def connect(self, patience: float) -> Any:
        """Return a connection to the server that has the data. Each step may take `patience` seconds.

        OSError or RedisError if there is none. Connections of redis-py are not yet connected until `connect`.
        """
        waits = {"socket_timeout": patience, "socket_connect_timeout": patience}
        if self.kind == "server":
            return _connected({**self.options, **waits})
        failure: Exception = OSError(f"no {self.kind} answers")
        for host in list(self.hosts):
            try:
                connection = self._by(host, waits)
            except _errors() as error:
                failure = error
                continue
            self.hosts.remove(host)
            self.hosts.insert(0, host)
            return connection
        raise failure

    def _several(self, text: str, scheme: str) -> dict[str, Any]:
        """Read the hosts and the service, and return the options of connections to the server with the data."""
        parts = urlsplit(text)
        account, at, hosts = parts.netloc.rpartition("@")
        self.hosts = [_host(each, _PORTS[self.kind]) for each in hosts.split(",")]
        self.service, _, database = parts.path.strip("/").partition("/")
        if self.kind == "cluster":
            database = self.service
            if database not in ("", "0"):
                raise ValueError("a Redis Cluster has no databases")
        elif not self.service:
            raise ValueError("the service of the Sentinels is missing")
        options = _options(SplitResult(scheme, f"{account}{at}host", f"/{database}", parts.query, "").geturl())
        for name in ("host", "port"):
            options.pop(name, None)
        self.asking = {
            name.removeprefix("sentinel_"): options.pop(name) for name in list(options) if name.startswith("sentinel_")
        }
        self.asking.update({name: value for name, value in options.items() if name.startswith(("ssl_", "connection_class"))})
        return options

    def _by(self, host: Host, waits: dict[str, Any]) -> Any:
        """Return a connection to the server that a Sentinel or a node names."""
        if self.kind == "sentinel":
            found = _ask(_connected({**self.asking, **waits, **_at(host)}), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
            if found is None:
                raise OSError(f'Sentinel {host[0]}:{host[1]} does not know "{self.service}"')
            primary = _text(found[0]), int(found[1])
        else:
            primary = self._owner(host, waits)
        connection = _connected({**self.options, **waits, **_at(primary)})
        if self.kind == "sentinel":
            connection.send_command("ROLE")
            role = _text(connection.read_response()[0])
            if role != "master":
                connection.disconnect()
                raise OSError(f"{primary[0]}:{primary[1]} is a {role}, a failover is in progress")
        return connection

    def _owner(self, host: Host, waits: dict[str, Any]) -> Host:
        """Return the primary of the key's slot, as a node knows it, and learn the other nodes."""
        from redis.crc import key_slot

        slot = key_slot(self.key.encode())
        owner: Host | None = None
        for first, last, *nodes in _ask(_connected({**self.options, **waits, **_at(host)}), "CLUSTER", "SLOTS"):
            # A node that does not know its own name leaves it out: it is the one that was asked.
            known = [(_text(node[0]) if node[0] else host[0], int(node[1])) for node in nodes]
            self.hosts += [node for node in known if node not in self.hosts]
            if first <= slot <= last:
                owner = known[0]
        if owner is None:
            raise OSError(f"no node has slot {slot}")
        return owner


def _options(text: str) -> dict[str, Any]:
    """Return redis-py's options of an address. ValueError if it is none; OSError without the package."""
    try:
        from redis.connection import parse_url
    except ImportError:
        raise OSError(_MISSING) from None
    parse: Any = parse_url
    return dict(parse(text))


def _host(text: str, port: int) -> Host:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.path:
        raise ValueError(f'"{text}" is no host')
    return parts.hostname, parts.port or port


def _at(host: Host) -> dict[str, Any]:
    return {"host": host[0], "port": host[1]}


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _connection(options: dict[str, Any]) -> Any:
    """Return a connection that makes no attempt by itself to connect again."""
    from redis.backoff import NoBackoff
    from redis.connection import Connection
    from redis.retry import Retry

    return options.pop("connection_class", Connection)(**options, retry=Retry(NoBackoff(), 0))


def _connected(options: dict[str, Any]) -> Any:
    connection = _connection(options)
    connection.connect()
    return connection


def _ask(connection: Any, *command: str) -> Any:
    """Return the reply to one command, and close the connection."""
    try:
        connection.send_command(*command)
        return connection.read_response()
    finally:
        connection.disconnect()


def _errors() -> tuple[type[Exception], ...]:
    from redis import RedisError

    return (OSError, RedisError)
