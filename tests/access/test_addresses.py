"""allow and deny, without input and output."""

from __future__ import annotations

import logging
from ipaddress import ip_network

import pytest

from tests.support.limits import exchange
from wsgi_proxy.access.addresses import AddressCheck
from wsgi_proxy.config import Access
from wsgi_proxy.errors import Refusal


def rules(*lines: str) -> list[Access]:
    made = []
    for line in lines:
        word, where = line.split()
        made.append(Access(word == "allow", where if where in ("all", "unix:") else ip_network(where)))
    return made


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.168.1.1", False),
        ("192.168.1.2", True),
        ("192.168.2.2", False),
        ("10.1.255.255", True),
        ("::ffff:10.1.0.1", True),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("", False),
        ("not an address", False),
    ],
)
def test_the_example_of_nginx(address: str, expected: bool) -> None:
    check = AddressCheck(
        rules("deny 192.168.1.1", "allow 192.168.1.0/24", "allow 10.1.0.0/16", "allow 2001:db8::/32", "deny all")
    )
    x = exchange(remote_addr=address)
    if expected:
        assert check(x) is True
    else:
        with pytest.raises(Refusal) as refusal:
            check(x)
        assert refusal.value.status == 403


def test_no_rule_is_no_opinion() -> None:
    check = AddressCheck(rules("deny 10.0.0.0/8", "allow unix:"))
    assert check(exchange(remote_addr="11.0.0.1")) is False
    assert check(exchange(remote_addr="")) is True
    assert check(exchange(remote_addr="unix:")) is True


def test_refusal_is_logged_unless_something_else_may_satisfy(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "wsgi_proxy"):
        for quiet in (False, True):
            with pytest.raises(Refusal):
                AddressCheck(rules("deny all"), quiet)(exchange())
    assert [record.getMessage().split(",")[0] for record in caplog.records] == ["access forbidden by rule"]
