"""Converters `(level, args) -> value` for times, sizes, numbers, flags and words, as nginx reads them.

Source: nginx's ngx_parse.c and ngx_conf_file.c, by behaviour. tests/nginx/test_directives.py compares the messages with the
binary.
"""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING, Any

from ...config import Template
from ...config import parse_number as parse_number
from ...config import parse_size as parse_size
from ...config import parse_time as parse_time
from .row import Bad, BadValue, Converter, Level

if TYPE_CHECKING:
    from ...exchange import Exchange


def time(level: Level, args: list[str]) -> float:
    seconds = parse_time(args[0])
    if seconds is None:
        raise BadValue("invalid value")
    return seconds


def whole_seconds(level: Level, args: list[str]) -> float:
    seconds = parse_time(args[0], milliseconds=False)
    if seconds is None:
        raise BadValue("invalid value")
    return seconds


def size(level: Level, args: list[str]) -> int:
    found = parse_size(args[0])
    if found is None:
        raise BadValue("invalid value")
    return found


def offset(level: Level, args: list[str]) -> int:
    found = parse_size(args[0], "kmg")
    if found is None:
        raise BadValue("invalid value")
    return found


def number(level: Level, args: list[str]) -> int:
    found = parse_number(args[0])
    if found is None:
        raise BadValue("invalid number")
    return found


def buffers(level: Level, args: list[str]) -> tuple[int, int]:
    count, block = parse_number(args[0]), parse_size(args[1])
    if not count or not block:
        raise BadValue("invalid value")
    return count, block


def between(low: int, high: int) -> Converter:
    """Return a converter for a number within bounds."""

    def convert(level: Level, args: list[str]) -> int:
        found = number(level, args)
        if found < low or found > high:
            raise Bad(f"value must be between {low} and {high}")
        return found

    return convert


def text(level: Level, args: list[str]) -> str:
    return args[0]


def path(level: Level, args: list[str]) -> str:
    """Return a file's path, absolute under the prefix."""
    return level.reading.absolute(args[0])


def conf_path(level: Level, args: list[str]) -> str:
    """Return a file's path, absolute under the directory of the configuration file."""
    return level.reading.absolute(args[0], beside_configuration=True) if args[0] else ""


class UnderFolder:
    """A relative path with variables. Its values are under a directory unless they turn out to be absolute."""

    __slots__ = ("_folder", "_name", "constant")

    def __init__(self, folder: str, name: Template) -> None:
        known: str | None = getattr(name, "constant", None)
        self._folder = folder
        self._name = name
        self.constant = None if known is None else f"{folder}/{known}"

    def __call__(self, exchange: Exchange) -> str:
        name = self.constant or self._name(exchange)
        return name if name.startswith("/") else f"{self._folder}/{name}"


def network(level: Level, text: str) -> Any:
    """Return the network of `address[/bits]`, with nginx's warning about low bits; None for a text that is no network."""
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if "/" in text and ipaddress.ip_interface(text).ip != found.network_address:
        level.reading.warn(f"low address bits of {text} are meaningless", level.reading.names.place)
    return found


def path_template(level: Level, text: str, beside_configuration: bool = False) -> Template:
    """Return a path that may have variables, absolute like `path` and `conf_path`, in the form of the configuration's text."""
    found = level.template(text)
    if text.startswith("/"):
        return found
    folder = level.reading.absolute("", beside_configuration).rstrip("/")
    return UnderFolder(os.fsencode(folder).decode("latin-1"), found)


def template(level: Level, args: list[str]) -> Template:
    return level.template(args[0])


def templates(level: Level, args: list[str]) -> tuple[Template, ...]:
    return tuple(level.template(arg) for arg in args)


def flag_value(name: str, arg: str) -> bool:
    lower = arg.lower()
    if lower not in ("on", "off"):
        raise Bad(f'invalid value "{arg}" in "{name}" directive, it must be "on" or "off"')
    return lower == "on"


def flag(name: str) -> Converter:
    """Return a converter for `on` or `off`. The directive's name is part of nginx's message."""
    return lambda level, args: flag_value(name, args[0])


def word(*words: str) -> Converter:
    """Return a converter for one of some words."""

    def convert(level: Level, args: list[str]) -> str:
        for known in words:
            if args[0].lower() == known.lower():
                return known
        raise Bad(f'invalid value "{args[0]}"')

    return convert


def words(*known: str, case: bool = False) -> Converter:
    """Return a converter for a set of words."""

    def convert(level: Level, args: list[str]) -> frozenset[str]:
        found = set()
        for arg in args:
            if arg not in known and (case or arg.lower() not in known):
                raise Bad(f'invalid value "{arg}"')
            found.add(arg if case else arg.lower())
        return frozenset(found)

    return convert


def either(first: frozenset[str], second: frozenset[str]) -> frozenset[str]:
    """Return the union of two sets of words; an empty one comes from `off`, which applies whatever else is given."""
    return first | second if first and second else frozenset()


def unless_off(convert: Converter, off: Any) -> Converter:
    """Return a converter that gives a fixed value for `off`."""
    return lambda level, args: off if args == ["off"] else convert(level, args)
