"""auth_basic and auth_request, as steps of the access phase."""

from __future__ import annotations

import base64
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.limits import exchange, text
from wsgi_proxy.access.auth import BasicCheck, RequestCheck, credentials, is_proxied
from wsgi_proxy.config import GuardSettings, Location, ProxyPass, ProxySettings
from wsgi_proxy.errors import ProxyError, Refusal
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.response import Response

PLAIN = Location()
FORWARDING = Location(proxy=ProxySettings(pass_=ProxyPass("http://$http_host", template=text("http://site.test"))))


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode("latin-1")).decode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (basic("user", "pass:word"), ("user", "pass:word")),
        ("bASIC   " + basic("u", "").split()[1], ("u", "")),
        ("Basic dTpw", ("u", "p")),
        ("Basic dTo", ("u", "")),
        ("Basic dQ==", None),
        ("Basic OnA=", None),
        ("Basic !!!!", None),
        ("Basic", None),
        ("", None),
        ("Bearer dTpw", None),
        ("Basic dTpw dTpw", None),
    ],
)
def test_credentials(value: str, expected: Any) -> None:
    assert credentials(value) == expected


@pytest.fixture
def check(tmp_path: Path) -> BasicCheck:
    (tmp_path / "htpasswd").write_text("alice:{PLAIN}secret\n")
    return BasicCheck(text("a realm"), text("htpasswd"), str(tmp_path))


def test_who_gets_in(check: BasicCheck) -> None:
    x = exchange(location=PLAIN, headers={"Authorization": basic("alice", "secret")})
    assert check(x) is True
    assert x.remote_user == "alice"


@pytest.mark.parametrize(
    ("value", "level", "line"),
    [
        ("", logging.INFO, "no user/password was provided for basic authentication"),
        (basic("bob", "secret"), logging.ERROR, 'user "bob" was not found in "'),
        (basic("alice", "wrong"), logging.ERROR, 'user "alice": password mismatch'),
    ],
)
def test_who_does_not(check: BasicCheck, caplog: pytest.LogCaptureFixture, value: str, level: int, line: str) -> None:
    x = exchange(location=PLAIN, headers={"Authorization": value} if value else {})
    with caplog.at_level(logging.INFO, "wsgi_proxy"), pytest.raises(Refusal) as refusal:
        check(x)
    assert refusal.value.status == 401
    assert refusal.value.headers == [("WWW-Authenticate", 'Basic realm="a realm"')]
    assert (caplog.records[0].levelno, caplog.records[0].getMessage()[: len(line)]) == (level, line)
    assert "secret" not in caplog.text.replace('"a realm"', "") and "wrong" not in caplog.text


@pytest.mark.parametrize(
    ("method", "absolute", "place", "proxied"),
    [
        ("CONNECT", "", PLAIN, True),
        ("GET", "http", FORWARDING, True),
        ("GET", "http", PLAIN, False),
        ("GET", "", FORWARDING, False),
    ],
)
def test_a_forward_proxy_asks_for_itself(check: BasicCheck, method: str, absolute: str, place: Location, proxied: bool) -> None:
    def ask(name: str) -> Exchange:
        target = "a.example:443" if method == "CONNECT" else "/"
        return exchange(method, target, {name: basic("alice", "secret")}, absolute=absolute, location=place)

    right, wrong = ("Proxy-Authorization", "Authorization") if proxied else ("Authorization", "Proxy-Authorization")
    assert is_proxied(ask(right)) == proxied
    assert check(ask(right)) is True
    with pytest.raises(Refusal) as refusal:
        check(ask(wrong))
    assert refusal.value.status == (407 if proxied else 401)
    assert refusal.value.headers[0][0] == ("Proxy-Authenticate" if proxied else "WWW-Authenticate")


def test_off_is_no_opinion() -> None:
    assert BasicCheck(text("off"), text("/nowhere"))(exchange(location=PLAIN)) is False


def test_a_missing_file_forbids_and_an_unreadable_one_is_a_fault(tmp_path: Path) -> None:
    headers = {"Authorization": basic("a", "b")}
    with pytest.raises(Refusal) as refusal:
        BasicCheck(text("r"), text("none"), str(tmp_path))(exchange(location=PLAIN, headers=headers))
    assert refusal.value.status == 403
    with pytest.raises(ProxyError) as fault:
        BasicCheck(text("r"), text("."), str(tmp_path))(exchange(location=PLAIN, headers=headers))
    assert fault.value.status == 500


# --- auth_request -----------------------------------------------------------------------------------------------------------


class Body:
    closed = 0

    def close(self) -> None:
        self.closed += 1


def requesting(response: Response, *variables: tuple[str, Any]) -> tuple[RequestCheck, list[str]]:
    asked: list[str] = []

    def ask(x: Exchange, uri: str) -> Any:
        asked.append(uri)
        inner = exchange()
        inner.status, inner.response, inner.upstream_pairs = response.status, response, getattr(response.source, "pairs", [])
        return SimpleNamespace(exchange=inner, response=response, close=response.close)

    return RequestCheck(GuardSettings(auth_request="/auth", auth_request_set=variables), lambda: ask), asked


def test_auth_request_lets_in_and_sets_variables() -> None:
    body: Any = Body()
    response = Response(204, [("X-Shown", "1")], body)
    response.source = SimpleNamespace(pairs=[("X-User", "alice")])
    check, asked = requesting(response, ("user", lambda x: dict(x.upstream_pairs)["X-User"]), ("status", lambda x: str(x.status)))
    x = exchange()
    assert check(x) is True
    assert asked == ["/auth"]
    assert x.variables == {"user": "alice", "status": "204"}
    assert (x.status, x.response, x.upstream_pairs) == (0, None, []), "only the variables stay"
    assert body.closed == 1


def test_auth_request_refuses() -> None:
    challenge = ("WWW-Authenticate", 'Bearer realm="x"')
    check, _ = requesting(Response(401, [("X-Other", "1"), challenge]))
    with pytest.raises(Refusal) as refusal:
        check(exchange())
    assert (refusal.value.status, refusal.value.headers) == (401, [challenge])
    check, _ = requesting(Response(403, [challenge]))
    with pytest.raises(Refusal) as refusal:
        check(exchange())
    assert (refusal.value.status, refusal.value.headers) == (403, [])


@pytest.mark.parametrize("outcome", [Response(302), Response(404), Response(500), Response(502)])
def test_anything_else_is_a_fault_of_ours(outcome: Response) -> None:
    check, _ = requesting(outcome)
    with pytest.raises(ProxyError, match="auth request unexpected status: ") as fault:
        check(exchange())
    assert fault.value.status == 500
    assert not isinstance(fault.value, Refusal)
