"""listen: the sockets that a configuration names, and binding them."""

from __future__ import annotations

import logging
import socket
from typing import Any

import pytest
from gunicorn.config import Config as GunicornConfig

from tests.support.ports import free_port
from wsgi_proxy.config import Config, Listen, ServerBlock
from wsgi_proxy.errors import ConfigError
from wsgi_proxy.server import listen as server_listen
from wsgi_proxy.server.listen import address_of, bind, close, covering, listens_of


def config_of(*groups: tuple[Listen, ...]) -> Config:
    return Config(servers=tuple(ServerBlock(listens=listens) for listens in groups))


@pytest.fixture
def cfg() -> Any:
    return GunicornConfig()


def wanted(*listens: Listen) -> dict[server_listen.Address, Listen]:
    return listens_of(config_of(listens))


def test_each_address_once() -> None:
    first, second = Listen(host="127.0.0.1", port=80), Listen(host="127.0.0.1", port=80, default_server=True, backlog=7)
    found = listens_of(config_of((first, Listen(unix="/s")), (second,)))
    assert found == {("127.0.0.1", 80): second, "/s": Listen(unix="/s")}


def test_a_wildcard_covers_its_port_and_family() -> None:
    places = (("127.0.0.1", 80), ("*", 80), ("::1", 80), ("127.0.0.1", 81))
    found = wanted(*(Listen(host=host, port=port) for host, port in places))
    assert set(found) == {("0.0.0.0", 80), ("::1", 80), ("127.0.0.1", 81)}
    assert covering(("127.0.0.1", 80), found) == ("0.0.0.0", 80)
    assert covering(("127.0.0.1", 81), found) == ("127.0.0.1", 81)
    assert covering(("127.0.0.1", 82), found) is None and covering("/s", found) is None


def test_sockets_that_stay_are_kept(cfg: Any) -> None:
    ports = [free_port() for _ in range(3)]
    log = logging.getLogger("test")
    old, gone = bind(wanted(*(Listen(host="127.0.0.1", port=port) for port in ports[:2])), [], cfg, log)
    assert gone == [] and [address_of(sock) for sock in old] == [("127.0.0.1", port) for port in ports[:2]]
    new, gone = bind(wanted(*(Listen(host="127.0.0.1", port=port) for port in ports[1:])), old, cfg, log)
    assert new[0] is old[1] and gone == [old[0]] and address_of(new[1]) == ("127.0.0.1", ports[2])
    close([*new, *gone])


def test_both_families_at_one_port(cfg: Any) -> None:
    port = free_port()
    sockets, _ = bind(wanted(Listen(port=port), Listen(host="::", port=port)), [], cfg, logging.getLogger("test"))
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, port), 5).close()
    close(sockets)
    sockets, _ = bind(wanted(Listen(host="::", port=port, ipv6only=False)), [], cfg, logging.getLogger("test"))
    socket.create_connection(("127.0.0.1", port), 5).close()
    close(sockets)


def test_a_unix_socket_s_file_goes_with_it(cfg: Any, tmp_path: Any) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(path)
    # The file that is left over does no harm.
    sockets, _ = bind(wanted(Listen(unix=path)), [], cfg, logging.getLogger("test"))
    assert (tmp_path / "s").is_socket()
    with pytest.raises(ConfigError, match="in use"):
        bind(wanted(Listen(unix=path)), [], cfg, logging.getLogger("test"), pause=lambda _: None)
    close(sockets)
    assert not (tmp_path / "s").exists()


def test_what_cannot_be_bound_is_named_and_nothing_is_left(cfg: Any, tmp_path: Any) -> None:
    pauses: list[float] = []
    free = free_port()
    (tmp_path / "file").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listens = (Listen(host="127.0.0.1", port=free), Listen(host="127.0.0.1", port=port), Listen(unix=str(tmp_path / "file")))
        with pytest.raises(ConfigError) as caught:
            bind(wanted(*listens), [], cfg, logging.getLogger("test"), pause=pauses.append)
    assert [str(fault) for fault in caught.value.faults] == [
        f"bind() to 127.0.0.1:{port} failed (98: Address already in use)",
        f"bind() to unix:{tmp_path}/file failed (98: Address already in use)",
    ]
    assert pauses == [0.5] * 8
    socket.create_server(("127.0.0.1", free)).close()


def test_reuseport_shares_the_address_with_another_instance(cfg: Any) -> None:
    port = free_port()
    shared = wanted(Listen(host="127.0.0.1", port=port, reuseport=True))
    first, _ = bind(shared, [], cfg, logging.getLogger())
    second, _ = bind(shared, [], cfg, logging.getLogger(), pause=lambda seconds: None)
    with pytest.raises(ConfigError):
        bind(wanted(Listen(host="127.0.0.1", port=port)), [], cfg, logging.getLogger(), pause=lambda seconds: None)
    close(first + second)


def test_a_socket_is_named_by_its_scheme_and_address(cfg: Any, tmp_path: Any) -> None:
    port = free_port()
    named: Any = {
        ("127.0.0.1", port): Listen(host="127.0.0.1", port=port, ssl=True),
        ("::1", port): Listen(host="::1", port=port),
        str(tmp_path / "s"): Listen(unix=str(tmp_path / "s"), ssl=True),
    }
    sockets, _ = bind(named, [], cfg, logging.getLogger("test"))
    try:
        assert [str(each) for each in sockets] == [f"https://127.0.0.1:{port}", f"http://[::1]:{port}", f"unix:{tmp_path}/s"]
    finally:
        close(sockets)
