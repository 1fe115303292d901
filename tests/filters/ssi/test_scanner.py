"""The commands in a text; test_filter compares them with nginx's."""

from __future__ import annotations

from wsgi_proxy.filters.ssi.scanner import Command, Fault, Scanner


def found(blocks: list[bytes], length: int = 255) -> list[object]:
    scanner = Scanner(length)
    out: list[object] = []
    for block in blocks:
        for each in scanner.feed(block):
            out.append(each if isinstance(each, bytes) else each.text() if isinstance(each, Command) else each.message)
            assert isinstance(each, bytes | Command | Fault)
    return [*out, scanner.rest()]


def test_a_command_in_any_blocks() -> None:
    text = b"a<!--# include virtual='x y' set=\"v\" -->b"
    whole = found([text])
    assert whole == [b"a", b'<!--#include virtual="x y" set="v" -->', b"b", b""]
    for at in range(len(text)):
        pieces = found([text[:at], text[at:]])
        assert b"".join(each for each in pieces if isinstance(each, bytes)) == b"".join(whole)  # type: ignore[arg-type]


def test_what_may_be_a_beginning_is_held_back() -> None:
    assert found([b"a<!-", b"-b"]) == [b"a", b"<!--b", b""]
    assert found([b"a<!--"]) == [b"a", b"<!--"]
    assert found([b"a<", b"<!--#x-->"]) == [b"a", b"<", b"<!--#x -->", b""]


def test_a_fault_ends_with_the_command() -> None:
    assert found([b"<!--#x y -- --->z-->w"])[0] == 'unexpected "-" symbol after "y" parameter in "x" SSI command'
    assert found([b"<!--#x y='abc' -->"], 2) == ['too long "abc..." value of "y" parameter in "x" SSI command', b""]


def test_memory_is_bounded() -> None:
    scanner = Scanner(10)
    list(scanner.feed(b"<!--#echo" + b" a='b'" * 10_000))
    assert len(scanner._parameters) <= 17
    list(scanner.feed(b" c" + b"x" * 10_000))
    assert len(scanner._parameters[-1][0]) <= 32 and not scanner.rest()
