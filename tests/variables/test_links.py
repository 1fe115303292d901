"""valid_referers and secure_link, as pure functions of an exchange."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import pytest

from tests.support.limits import argument, exchange
from wsgi_proxy.config import GuardSettings, Location, ServerBlock
from wsgi_proxy.variables.links import Referers, invalid_referer, secure_link, secure_link_expires

SERVER = ServerBlock(names=("own.example", "*.own.example", "~^re"), name_patterns=(("~^re", re.compile("^re")),))


def ask(settings: GuardSettings, function: Any, target: str = "/", headers: dict[str, str] | None = None, **more: Any) -> str:
    x = exchange(target=target, headers=headers, server=SERVER, location=Location(guard=settings))
    result: str = function(x, **more)
    return result


def invalid(referer: str | None, *parameters: Any) -> str:
    return ask(GuardSettings(valid_referers=parameters), invalid_referer, headers={} if referer is None else {"Referer": referer})


PARAMETERS = (
    "none",
    "server_names",
    "*.example.com",
    "example.*",
    ".dot.test",
    "www.example.org/galleries/",
    re.compile(r"\.google\.", re.IGNORECASE),
)


@pytest.mark.parametrize(
    "referer",
    [
        None,
        "http://own.example/x",
        "https://a.own.example:8443/x",
        "HTTP://WWW.Example.COM",
        "http://a.b.example.com/",
        "http://example.net/",
        "http://example.co.uk/",
        "http://dot.test/",
        "http://a.dot.test/",
        "https://www.example.org/galleries/1",
        "https://www.example.org:444/galleries/",
        "https://www.GOOGLE.com/search?q=x",
        "https://reason.test/",
    ],
)
def test_valid(referer: str | None) -> None:
    assert invalid(referer, *PARAMETERS) == ""


@pytest.mark.parametrize(
    "referer",
    [
        "",
        "http://example/",
        "http://www.xexample.com.evil.test/",
        "http://evil.test/http://own.example/",
        "http://www.example.org/other/",
        "http://www.example.org",
        "ftp://own.example/x",
        "own.example",
        "http://xdot.test/",
        "http://" + "a" * 300 + ".example.com/",
    ],
)
def test_invalid(referer: str) -> None:
    assert invalid(referer, *PARAMETERS) == "1"


def test_none_and_blocked() -> None:
    assert invalid(None, "own.test") == "1"
    assert invalid(None, "none", "own.test") == ""
    assert invalid("", "none", "own.test") == "1"
    assert invalid("", "blocked", "own.test") == ""
    assert invalid("secret", "blocked", "own.test") == ""
    assert invalid("http://evil.test/", "blocked", "none", "own.test") == "1"


def test_without_valid_referers_nothing_is_invalid() -> None:
    assert ask(GuardSettings(), invalid_referer) == ""
    assert ask(GuardSettings(), secure_link) == ""
    assert invalid_referer(exchange(server=SERVER)) == ""


# --- secure_link ------------------------------------------------------------------------------------------------------------


def md5(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.md5(text.encode()).digest()).decode().rstrip("=")


LINK = GuardSettings(
    secure_link=lambda x: ",".join(filter(None, (argument("md5")(x), argument("expires")(x)))),
    secure_link_md5=lambda x: f"{argument('expires')(x)}{x.uri} secret",
)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (f"/s/link?md5={md5('2147483647/s/link secret')}&expires=2147483647", "1"),
        (f"/s/link?md5={md5('2147483647/s/link secret')}==&expires=2147483647", "1"),
        (f"/s/link?md5={md5('1000/s/link secret')}&expires=1000", "0"),
        (f"/s/link?md5={md5('2000/s/link secret')}&expires=2000", "1"),
        (f"/s/link?md5={md5('1999/s/link secret')}&expires=1999", "0"),
        (f"/s/other?md5={md5('2147483647/s/link secret')}&expires=2147483647", ""),
        (f"/s/link?md5={md5('/s/link secret')}", "1"),
        (f"/s/link?md5={md5('x/s/link secret')}&expires=x", ""),
        (f"/s/link?md5={md5('0/s/link secret')}&expires=0", ""),
        ("/s/link?md5=&expires=1", ""),
        ("/s/link?md5=%%%", ""),
        ("/s/link?md5=AAAA", ""),
        ("/s/link", ""),
    ],
)
def test_secure_link(target: str, expected: str) -> None:
    assert ask(LINK, secure_link, target, clock=lambda: 2000.0) == expected


def test_secure_link_expires() -> None:
    assert ask(LINK, secure_link_expires, "/?md5=x&expires=123") == "123"
    assert ask(LINK, secure_link_expires, "/?md5=x") == ""
    assert ask(LINK, secure_link_expires, "/?md5=x&expires=0") == ""
    assert ask(GuardSettings(), secure_link_expires) == ""


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/p/5e814704a28d9bc1914ff19fa0c4a00a/link", "link"),
        ("/p/5E814704A28D9BC1914FF19FA0C4A00A/link", "link"),
        ("/p/5e814704a28d9bc1914ff19fa0c4a00b/link", ""),
        ("/p/5e814704a28d9bc1914ff19fa0c4a00a/link2", ""),
        ("/p/5e814704a28d9bc1914ff19fa0c4a00a/", ""),
        ("/p/x", ""),
    ],
)
def test_secure_link_secret_as_nginx_documents_it(target: str, expected: str) -> None:
    # echo -n 'linksecret' | openssl md5 -hex
    assert ask(GuardSettings(secure_link_secret="secret"), secure_link, target) == expected


def test_a_pattern_among_the_server_names_sees_the_host_alone() -> None:
    """As in nginx; a pattern of `valid_referers` sees the rest of the URL."""
    patterns = [re.compile("^a$")]
    assert Referers(["server_names"], [], patterns).valid("http://A/path")
    assert not Referers(["server_names"], [], patterns).valid("http://ab/path")
    assert not Referers(patterns, []).valid("http://a/path")


def test_a_host_of_more_than_256_bytes_is_invalid() -> None:
    referers = Referers([re.compile(".*")], [])
    assert referers.valid("http://" + "a" * 256)
    assert not referers.valid("http://" + "a" * 257)
