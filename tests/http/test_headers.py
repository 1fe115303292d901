"""headers: the fields that cross the proxy."""

from __future__ import annotations

import pytest

from wsgi_proxy.http import headers, parse_request_head
from wsgi_proxy.http.request_lines import FieldLine, FieldName


def lines(pairs: headers.Pairs, connection: str = "", **options: object) -> list[str]:
    return headers.RequestFilter(options.pop("replaced", ()), **options).copy(pairs, connection)  # type: ignore[arg-type]


def test_end_to_end_fields_keep_order_case_and_repetitions() -> None:
    pairs = [("X-b", "2"), ("x-A", "1"), ("X-b", "3"), ("Accept", "")]
    assert lines(pairs) == ["X-b: 2", "x-A: 1", "X-b: 3", "Accept: "]


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "Keep-Alive",
        "TE",
        "Transfer-Encoding",
        "Upgrade",
        "Proxy-Connection",
        "Proxy",
        "Expect",
        "Content-Length",
        "Host",
    ],
)
def test_what_concerns_one_connection_or_framing_stops_here(name: str) -> None:
    assert lines([(name, "x"), (name.upper(), "y"), ("A", "b")]) == ["A: b"]


def test_fields_that_connection_names_are_dropped() -> None:
    pairs = [("X-Hop", "1"), ("x-HOP", "2"), ("X-End", "3")]
    assert lines(pairs, "close, X-Hop") == ["X-End: 3"]


def test_connection_cannot_take_away_what_is_end_to_end() -> None:
    assert lines([("Cookie", "a=b"), ("Authorization", "x")], "cookie, authorization") == ["Cookie: a=b", "Authorization: x"]


@pytest.mark.parametrize("name", ["X-Forwarded-For", "x-forwarded-proto", "X-Forwarded-Anything", "Forwarded", "X-Real-IP"])
def test_a_client_cannot_set_what_the_upstream_trusts(name: str) -> None:
    assert lines([(name, "evil")]) == []
    assert lines([(name, "honest")], trusted=True) == [f"{name}: honest"]


@pytest.mark.parametrize("name", ["X_Forwarded_For", "Content_Length", "a_b"])
def test_underscore_twins_stop_here_unless_allowed(name: str) -> None:
    assert lines([(name, "1")]) == []
    assert lines([(name, "1")], underscores=True) == [f"{name}: 1"]


def test_names_that_nginx_calls_invalid_are_ignored_unless_told_otherwise() -> None:
    assert lines([("a.b", "1")]) == []
    assert lines([("a.b", "1")], ignore_invalid=False) == ["a.b: 1"]


def test_what_the_configuration_sets_replaces_the_clients() -> None:
    assert lines([("User-Agent", "x"), ("A", "1")], replaced={"user-agent"}) == ["A: 1"]


def test_a_client_that_invents_names_does_not_make_memory_grow() -> None:
    chosen = headers.RequestFilter(())
    for number in range(5000):
        chosen.passes(f"X-{number}")
    assert len(chosen._known) == headers.RequestFilter.LIMIT
    assert chosen.passes("X-4999") and not chosen.passes("Connection")


def test_answers_lose_hop_by_hop_fields_and_nginxs_hidden_ones() -> None:
    hidden = headers.hidden_names(("X-Secret",), ("Date",))
    pairs = [
        ("Date", "d"),
        ("Server", "s"),
        ("Connection", "close, X-Hop"),
        ("X-Hop", "1"),
        ("x-secret", "2"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("Transfer-Encoding", "chunked"),
    ]
    chosen = headers.ResponseFilter(hidden, ("set-cookie",))
    for _ in range(2):
        assert chosen.to_client(pairs) == ([("Date", "d"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], True)
    assert chosen.to_client([("Connection", "keep-alive"), ("A", "1")]) == ([("A", "1")], False)


def test_connection_lists() -> None:
    assert headers.listed("close, X-A, Host") == {"close", "x-a"}


def test_looking_up() -> None:
    pairs = [("A", " 1\t"), ("a", "2")]
    assert headers.first(pairs, "a") == "1"
    assert headers.first(pairs, "b") is None


@pytest.mark.parametrize(
    ("value", "left"), [("10", 9), ("1", 0), ("0", -1), ("", None), ("x", None), ("-1", None), ("1, 2", None), ("9" * 5000, None)]
)
def test_hops_left(value: str, left: int | None) -> None:
    assert headers.hops_left(value) == left


def test_connection_takes_nothing_away_that_a_trusted_proxy_says() -> None:
    pairs = [("X-Forwarded-For", "1.2.3.4"), ("X-Real-IP", "1.2.3.4"), ("Forwarded", "for=1.2.3.4"), ("X-A", "1")]
    connection = "x-forwarded-for, X-Real-IP, forwarded, x-a"
    assert lines(pairs, connection, trusted=True) == ["X-Forwarded-For: 1.2.3.4", "X-Real-IP: 1.2.3.4", "Forwarded: for=1.2.3.4"]
    assert lines(pairs, connection) == []


@pytest.mark.parametrize("connection", ["", "close", "keep-alive, X-Hop", "x-hop,Accept", "Host, Cookie"])
@pytest.mark.parametrize("options", [{}, {"trusted": True}, {"underscores": True}, {"replaced": ("accept",)}])
def test_checked_lines_pass_as_pairs_do(connection: str, options: dict[str, object]) -> None:
    sent = b"Host: a\r\naccept:x\r\nACCEPT: \xe9 y\t\r\nX-Hop: 1\r\nx-hop: 2\r\nX_Hop: 3\r\nX-Real-IP: 4\r\nCookie:  a=b\r\nE:"
    fields = parse_request_head(b"GET / HTTP/1.1\r\n" + sent + b"\r\n\r\n").fields
    chosen = headers.RequestFilter(**{"replaced": (), **options})  # type: ignore[arg-type]
    wanted = chosen.copy([field.pair for field in fields], connection)
    assert [line.decode("latin-1") for line in chosen.lines(fields, connection)] == wanted


def test_a_client_that_invents_lines_does_not_make_memory_grow() -> None:
    chosen = headers.RequestFilter(("x-4998",))
    for number in range(5000):
        name = f"X-{number}"
        fields = [
            FieldLine(FieldName(name), "y", f"{name}: y".encode()),
            FieldLine(FieldName("Connection"), "y", b"Connection: y"),
        ]
        for _ in range(2):
            assert chosen.lines(fields, "") == ([] if number == 4998 else [fields[0].line])
    assert len(chosen._fates) <= headers.RequestFilter.LIMIT
