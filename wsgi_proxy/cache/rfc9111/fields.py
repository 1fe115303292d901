"""Parsing the header fields that control caches: seconds, lists and directives.

Functions of text and of header pairs (`list[tuple[str, str]]` in arrival order, names in any case).

Rules:
- A malformed field never makes a response fresher than it would be without the field (RFC 9111, section 4.2.1).
- A repeated directive counts with its most restrictive value, an unreadable one as zero seconds.
- No text of a client or an origin raises.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

Pairs = list[tuple[str, str]]

# RFC 9111, section 1.2.2: a value too large to hold counts as 2^31 seconds.
DELTA_MAX: Final = 2**31

_TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_MEMBER: Final = re.compile(
    rf"""[ \t]*(?P<name>{_TOKEN})
         (?:=(?:(?P<token>{_TOKEN})|"(?P<quoted>(?:[^"\\]|\\.)*)"))?
         [ \t]*(?=,|$)""",
    re.VERBOSE,
)
_LEADING_TOKEN: Final = re.compile(rf"[ \t]*({_TOKEN})")
# The next list member begins behind a comma outside quotes.
_SKIP_MEMBER: Final = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*"?)*')
_UNESCAPE: Final = re.compile(r"\\(.)")

# Directives that only restrict a cache. They are honoured even in a malformed member.
_RESTRICTIVE: Final = frozenset({"no-store", "no-cache", "private", "must-revalidate", "proxy-revalidate", "max-age", "s-maxage"})


def parse_delta(text: str | None) -> int | None:
    """Return delta-seconds (RFC 9111, section 1.2.2), capped at 2^31; None unless the text is all ASCII digits."""
    if not text or not (text.isascii() and text.isdigit()):
        return None
    return DELTA_MAX if len(text) > 10 else min(int(text), DELTA_MAX)


def values(headers: Pairs, name: str) -> list[str]:
    """Return every value of a field, in arrival order. `name` is in lower case."""
    return [value for field, value in headers if field.lower() == name]


def members(headers: Pairs, name: str) -> list[str]:
    """Return the members of a list field over all its lines, trimmed, without empty ones. Commas in quotes do not split."""
    found = []
    for value in values(headers, name):
        at = 0
        while at <= len(value):
            match = _SKIP_MEMBER.match(value, at)
            end = match.end() if match else len(value)
            member = value[at:end].strip(" \t")
            if member:
                found.append(member)
            at = end + 1
    return found


class Directives:
    """The directives of one message, names in lower case, each with all its arguments.

    An argument is the token or the unquoted string, None if there is none, and `INVALID` if the member is malformed.
    """

    __slots__ = ("_arguments",)

    INVALID: Final = "\0"

    def __init__(self) -> None:
        self._arguments: dict[str, list[str | None]] = {}

    def add(self, name: str, argument: str | None) -> None:
        """Add one occurrence of a directive."""
        self._arguments.setdefault(name.lower(), []).append(argument)

    def __contains__(self, name: str) -> bool:
        return name in self._arguments

    def __bool__(self) -> bool:
        return bool(self._arguments)

    def seconds(self, name: str) -> int | None:
        """Return the smallest of the directive's values; 0 if any is unreadable, None if the directive is absent."""
        arguments = self._arguments.get(name)
        if arguments is None:
            return None
        return min(parse_delta(argument) or 0 for argument in arguments)

    def valueless(self, name: str) -> bool:
        """Return True if the directive occurs at least once without an argument."""
        return None in self._arguments.get(name, ())

    def bare(self, name: str) -> bool:
        """Return True if the directive occurs at least once without a readable, non-empty list of field names."""
        return any(not _field_names(argument) for argument in self._arguments.get(name, ()))

    def fields(self, name: str) -> frozenset[str]:
        """Return the field names, in lower case, to which `no-cache="…"` or `private="…"` is limited."""
        return frozenset().union(*(_field_names(argument) for argument in self._arguments.get(name, ())))


def _field_names(argument: str | None) -> frozenset[str]:
    if argument is None or argument == Directives.INVALID:
        return frozenset()
    names = [name.strip(" \t").lower() for name in argument.split(",")]
    # One name that is no token makes the whole list unreadable, and the directive unlimited.
    if not all(re.fullmatch(_TOKEN, name) for name in names if name):
        return frozenset()
    return frozenset(name for name in names if name)


_NO_DIRECTIVES: Final = Directives()


def cache_control(headers: Pairs) -> Directives:
    """Return the Cache-Control directives of a message (RFC 9111, section 5.2), of all field lines together."""
    lines = values(headers, "cache-control")
    return _parse_directives(",".join(lines)) if lines else _NO_DIRECTIVES


@lru_cache(maxsize=1024)
def _parse_directives(line: str) -> Directives:
    found = Directives()
    at = 0
    while at < len(line):
        match = _MEMBER.match(line, at)
        if match is not None:
            quoted = match["quoted"]
            found.add(match["name"], match["token"] if quoted is None else _UNESCAPE.sub(r"\1", quoted))
            at = match.end() + 1
            continue
        leading = _LEADING_TOKEN.match(line, at)
        if leading is not None and leading[1].lower() in _RESTRICTIVE:
            found.add(leading[1], Directives.INVALID)
        skipped = _SKIP_MEMBER.match(line, at)
        at = (skipped.end() if skipped else len(line)) + 1
    return found


# The bare items of a dictionary member (RFC 9651). Decimals must come before integers.
_BARE_ITEM: Final = re.compile(
    r"""(?P<decimal>-?\d{1,12}\.\d{1,3}(?![\d.]))
      | (?P<integer>-?\d{1,15}(?![\d.]))
      | "(?P<string>(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"
      | (?P<token>[A-Za-z*][!#$%&'*+\-.^_`|~:/0-9A-Za-z]*)
      | :(?P<bytes>[A-Za-z0-9+/=]*):
      | \?(?P<boolean>[01])
      | @(?P<date>-?\d{1,15}(?![\d.]))
    """,
    re.VERBOSE,
)
_SF_KEY: Final = re.compile(r"[a-z*][a-z0-9_\-.*]*")
_SF_SEPARATOR: Final = re.compile(r"[ \t]*,[ \t]*")
_COUNTED: Final = frozenset({"max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"})


def targeted(headers: Pairs, name: str = "cdn-cache-control") -> Directives | None:
    """Return the directives of a targeted field (RFC 9213); None if it is absent, empty or no valid dictionary.

    A directive whose value has the wrong type is left out. A negative count is unreadable.
    """
    lines = values(headers, name)
    text = ", ".join(line.strip(" \t") for line in lines if line.strip(" \t"))
    return _parse_targeted(text) if text else None


@lru_cache(maxsize=256)
def _parse_targeted(text: str) -> Directives | None:
    last: dict[str, tuple[str, str] | None] = {}
    at = 0
    while True:
        key = _SF_KEY.match(text, at)
        if key is None:
            return None
        at = key.end()
        item: tuple[str, str] | None = ("boolean", "1")
        if text.startswith("=", at):
            parsed = _structured_value(text, at + 1)
            if parsed is None:
                return None
            item, at = parsed
        after = _skip_parameters(text, at)
        if after is None:
            return None
        last[key[0]] = item
        if after == len(text):
            break
        separator = _SF_SEPARATOR.match(text, after)
        if separator is None or separator.end() == len(text):
            return None
        at = separator.end()
    found = Directives()
    for name, value in last.items():
        _add_typed(found, name, value)
    return found


def _add_typed(found: Directives, name: str, item: tuple[str, str] | None) -> None:
    """Add a member if its type fits its directive (RFC 9213, section 2.1)."""
    if item is None:
        return
    kind, value = item
    if name in _COUNTED:
        if kind == "integer":
            found.add(name, value)
    elif kind == "boolean":
        if value == "1":
            found.add(name, None)
    elif kind in {"string", "token"}:
        found.add(name, _UNESCAPE.sub(r"\1", value))


def _structured_value(text: str, at: int) -> tuple[tuple[str, str] | None, int] | None:
    """Return one dictionary value: ((kind, text), or None for an inner list; its end). None if it is malformed."""
    if text.startswith("(", at):
        return _skip_inner_list(text, at + 1)
    match = _BARE_ITEM.match(text, at)
    if match is None or match.lastgroup is None:
        return None
    return (match.lastgroup, match[match.lastgroup]), match.end()


def _skip_inner_list(text: str, at: int) -> tuple[None, int] | None:
    while True:
        while text.startswith(" ", at):
            at += 1
        if text.startswith(")", at):
            return None, at + 1
        match = _BARE_ITEM.match(text, at)
        after = _skip_parameters(text, match.end()) if match else None
        if after is None or text[after : after + 1] not in {" ", ")"}:
            return None
        at = after


def _skip_parameters(text: str, at: int) -> int | None:
    while text.startswith(";", at):
        at += 1
        while text.startswith(" ", at):
            at += 1
        key = _SF_KEY.match(text, at)
        if key is None:
            return None
        at = key.end()
        if text.startswith("=", at):
            item = _BARE_ITEM.match(text, at + 1)
            if item is None:
                return None
            at = item.end()
    return at
