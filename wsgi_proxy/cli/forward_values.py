"""Option values of `wsgi-proxy forward` in nginx's syntax.

Rules:
- A value that cannot be part of a configuration raises Refused, with the cure.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
from collections.abc import Sequence

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_EXAMPLES = {"--hours": "8-18", "--days": "mon-fri"}


class Refused(ValueError):
    """An option whose value cannot be part of a configuration."""


def quoted(text: str) -> str:
    """Return `text` as a word of a configuration, quoted if necessary. Raises Refused for variables and control characters."""
    if "$" in text and not text.startswith("~"):
        raise Refused(f'"{text}": a dollar sign would start a variable; remove it')
    if any(ord(char) < 32 for char in text):
        raise Refused("a value contains a control character; remove it")
    if text and re.fullmatch(r"[\w.*/:\[\]~@%+,=-]+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def path_of(text: str) -> str:
    """Return the absolute path of a cache, or `memory`."""
    return text if text == "memory" else os.path.abspath(text)


def site(name: str) -> str:
    """Return a site as a pattern of `map`. Raises Refused."""
    if name.startswith("~"):
        return "~*" + regex(name.lstrip("~*"))
    if not re.fullmatch(r"(\*?\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(\.\*)?", name) and not is_address(name):
        raise Refused(f'"{name}" is not a site; use a.org, *.b.org, .c.org, an address or ~regex')
    return name.lower()


def is_address(name: str) -> bool:
    """Return True for an IP address, with or without brackets."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name.strip("[]"))
        return True
    return False


def regex(pattern: str) -> str:
    """Return a valid regular expression. Raises Refused."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise Refused(f'"{pattern}" is not a regular expression: {error}') from error
    return pattern


def network(text: str) -> str:
    """Return a network in CIDR notation. Raises Refused."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError as error:
        raise Refused(str(error)) from error


def ports(numbers: Sequence[int]) -> str:
    """Return ports as alternatives of a regular expression. Raises Refused."""
    for number in numbers:
        if not 0 < number < 65536:
            raise Refused(f"{number} is not a port; use 1 to 65535")
    return "|".join(str(number) for number in numbers)


def listen(text: str) -> str:
    """Return [HOST]:PORT as an argument of `listen`. Raises Refused."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise Refused(f'"{text}" is not [HOST]:PORT')
    if host and not (re.fullmatch(r"[A-Za-z0-9.-]+|\*", host) or (host.startswith("[") and is_address(host))):
        raise Refused(f'"{host}" is not an address to listen on; use a host name, an IPv4 address or [IPv6]')
    return text if host else port


def span(text: str, size: int, option: str, known: object) -> list[int]:
    """Return the members of the range `a-b` or `a` modulo `size`. A range of hours excludes b, a range of days includes it."""
    first, dash, last = text.lower().partition("-")
    words = [first, last] if dash else [first]
    if not all(callable(known) and known(word) for word in words):
        raise Refused(f"{option} {text} is not a range; use {_EXAMPLES[option]}")
    numbers = [DAYS.index(word) if size == 7 else int(word) for word in words]
    if size == 24:
        if any(number > 24 for number in numbers) or (dash and numbers[0] == numbers[1]):
            raise Refused(f"{option} {text} is not a range; use {_EXAMPLES[option]}")
        end = numbers[1] if dash else numbers[0] + 1
        return [number % 24 for number in range(numbers[0], end if end > numbers[0] else end + 24)]
    end = numbers[-1] if numbers[-1] >= numbers[0] else numbers[-1] + 7
    return [number % 7 for number in range(numbers[0], end + 1)]
