"""`empty_gif`, with nginx's responses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import fetch, free_ports, run_nginx, run_proxy

CONF = "error_log stderr crit; events {} http { access_log off; server { listen 127.0.0.1:PORT; location / { empty_gif; } } }"
FIELDS = ("content-type", "last-modified", "content-length", "etag", "allow")


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int]]:
    folder = tmp_path_factory.mktemp("gif")
    found = free_ports(2)
    with run_nginx(CONF.replace("PORT", str(found[0])), folder), run_proxy(CONF.replace("PORT", str(found[1])), folder):
        yield found


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("since", ["", "Mon, 28 Sep 1970 06:00:00 GMT", "Mon, 28 Sep 1970 06:00:01 GMT"])
def test_as_nginx(ports: list[int], method: str, since: str) -> None:
    headers = [("If-Modified-Since", since)] if since else []
    theirs, ours = (fetch(port, "/", method=method, headers=headers) for port in ports)
    assert (ours.status, ours.body) == (theirs.status, theirs.body)
    assert [ours.get(name) for name in FIELDS] == [theirs.get(name) for name in FIELDS]
    if method == "GET":
        assert (ours.status, len(ours.body)) == ((304, 0) if since.endswith("00 GMT") else (200, 43))


def test_other_methods_are_not_allowed(ports: list[int]) -> None:
    assert [fetch(port, "/", method="POST", body=b"x").status for port in ports] == [405, 405]
