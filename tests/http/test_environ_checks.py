"""environ_checks: requests that other servers accept are refused as `http.request` does. Pure: no socket is opened."""

from __future__ import annotations

import pytest

from wsgi_proxy.errors import ClientError
from wsgi_proxy.http.environ_checks import check_fields, check_target, content_length


@pytest.mark.parametrize("target", ["/", "/a?b", "http://a/b", "*", "a:80", "/caf\xe9", "/%zz"])
def test_targets_that_are_good(target: str) -> None:
    check_target("FOO", target)
    check_target("CONNECT", "a.example:443")


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("get", "/", 400),
        ("%47ET", "/", 400),
        ("TRACE", "/", 405),
        ("GET", "/a#b", 400),
        ("GET", "/a b", 400),
        ("GET", "/a\tb", 400),
        ("GET", "/a\0b", 400),
        ("GET", "/a\x7f", 400),
        ("GET", "http://a/#", 400),
        ("CONNECT", "a", 400),
        ("CONNECT", "/a", 400),
        ("CONNECT", "http://a:443/", 400),
    ],
)
def test_targets_that_are_bad(method: str, target: str, status: int) -> None:
    with pytest.raises(ClientError) as caught:
        check_target(method, target)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("environ", "length"),
    [
        ({}, None),
        ({"CONTENT_LENGTH": ""}, None),
        ({"CONTENT_LENGTH": "0"}, 0),
        ({"CONTENT_LENGTH": "005"}, 5),
        ({"HTTP_TRANSFER_ENCODING": "Chunked"}, None),
        ({"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""}, None),
    ],
)
def test_framing_with_one_reading(environ: dict[str, str], length: int | None) -> None:
    assert content_length(environ) == length


@pytest.mark.parametrize(
    ("environ", "status"),
    [
        ({"CONTENT_LENGTH": "+5"}, 400),
        ({"CONTENT_LENGTH": "5, 5"}, 400),
        ({"CONTENT_LENGTH": "1" * 5000}, 400),
        ({"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": "5"}, 400),
        ({"HTTP_TRANSFER_ENCODING": "identity, chunked"}, 501),
        ({"HTTP_TRANSFER_ENCODING": ""}, 501),
    ],
)
def test_framing_with_more(environ: dict[str, str], status: int) -> None:
    with pytest.raises(ClientError) as caught:
        content_length(environ)
    assert caught.value.status == status


def test_hosts() -> None:
    check_fields({})
    check_fields({"HTTP_HOST": "a.example:80"})
    for host in ("", "a@b", "a,b", "a%zz", "[a]", "a:65536"):
        with pytest.raises(ClientError):
            check_fields({"HTTP_HOST": host})
