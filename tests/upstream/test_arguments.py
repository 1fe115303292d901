"""Combinations of a pool's arguments. tests/config/test_arguments.py tests each argument."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from wsgi_proxy import ConfigError, Pool, Server
from wsgi_proxy.upstream import arguments as pool_arguments


def test_addresses_become_servers_and_servers_stay() -> None:
    given = Server("http://a", weight=2)
    assert pool_arguments.servers(iter(["b:80", given])) == (Server("b:80"), given)


def test_a_single_address_is_no_list_of_letters() -> None:
    with pytest.raises(ConfigError, match="servers: a list of servers and addresses is wanted, not 'http://a'"):
        pool_arguments.servers("http://a")


def test_a_context_is_made_where_a_server_speaks_tls() -> None:
    assert pool_arguments.tls(True, None, False).context is None
    made = pool_arguments.tls(True, None, True)
    assert made.by_server and made.context.verify_mode == ssl.CERT_REQUIRED and made.context.check_hostname
    assert pool_arguments.tls(False, None, True).context.verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize(
    ("servers", "message"),
    [
        ([], "servers: at least one server is wanted, not an empty list"),
        (["http://a:80/x"], 'the URL of a server has no path, remove "/x" from "http://a:80/x"'),
        (["https://a?b"], 'the URL of a server has no path, remove "?b" from "https://a?b"'),
        (["http://a:x"], 'invalid port in "http://a:x"'),
        ([3], "servers: a Server or an address is wanted in the list, not 3"),
    ],
)
def test_a_fault_of_the_servers_names_the_cure(servers: list[Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Pool(servers)
    assert str(caught.value) == message
