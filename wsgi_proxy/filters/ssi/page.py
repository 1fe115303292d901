"""The state of one request's Server Side Includes: variables, captures, blocks; strings and conditions are evaluated by it.

Rules:
- A request and its subrequests share one `Page`.
- `$name` in a string is a variable of the page (`set`, a capture), else one of nginx's; an unknown one is empty.
Source: nginx, ngx_http_ssi_evaluate_string, ngx_http_ssi_if.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError
from ...variables import compile_regex

if TYPE_CHECKING:
    from ...exchange import Exchange

_VARIABLE = re.compile(r"\$(?:\{([0-9A-Za-z_]*)(\}?)|([0-9A-Za-z_]*))")
_ESCAPE = re.compile(r"\\(?:([\\'\"$])|(.)|\Z)", re.DOTALL)
_LEFT = re.compile(r"[0-9A-Za-z_${}\"']*")


Values = Callable[[str], "str | None"]
"""A function that gives the value of a variable by its name, None if there is none."""


class Failed(Exception):
    """A command that cannot be carried out; the message is for the log."""


class Page:
    """The variables, captures and blocks of one request. `lookup(exchange, name)` gives nginx's variables."""

    def __init__(self, lookup: Any) -> None:
        self.variables: dict[str, str] = {}
        self.captures: tuple[str | None, ...] = ()
        self.blocks: list[tuple[str, list[Any]]] = []
        self._lookup = lookup

    def value(self, exchange: Exchange, name: str) -> str | None:
        """Return the variable of this name; None if there is none."""
        if len(name) == 1 and name.isdigit() and self.captures:
            number = int(name)
            if number < len(self.captures):
                return self.captures[number]
        found = self.variables.get(name.lower())
        if found is None:
            found = self._lookup(exchange, name.lower())
        return found

    def string(self, value: Values, text: str, folder: str = "") -> str:
        """Return a string with its variables and escapes replaced. A path that is not absolute is relative to `folder`.

        Raises Failed for a malformed variable.
        """
        if "$" not in text:
            plain = _ESCAPE.sub(_unescaped, text)
            return plain if text.startswith("/") else folder + plain
        pieces: list[str] = []
        at = 0
        while at < len(text):
            if text[at] == "$":
                match = _VARIABLE.match(text, at)
                assert match is not None
                at = match.end()
                name = match[1] if match[3] is None else match[3]
                if match[3] is None and not match[2] and (name or at < len(text)):
                    raise Failed(f'the closing bracket in "{name}" variable is missing')
                if not name:
                    raise Failed(f'invalid variable name in "{text}"')
                pieces.append(value(name) or "")
                continue
            end = _dollar(text, at)
            pieces.append(_ESCAPE.sub(_unescaped, text[at:end]))
            at = end
        made = "".join(pieces)
        return made if made.startswith("/") else folder + made

    def holds(self, value: Values, expression: str) -> bool:
        """Return True if the condition of an `if` holds. Raises Failed for a malformed one."""
        match = _LEFT.match(expression)
        assert match is not None
        left = self.string(value, match[0].lower())
        rest = expression[match.end() :].lstrip(" ")
        if not rest:
            return bool(left)
        if rest.startswith("="):
            negative, rest = False, rest[1:].lstrip(" ")
        elif rest.startswith("!="):
            negative, rest = True, rest[2:].lstrip(" ")
        else:
            raise Failed(f'invalid expression in "{expression}"')
        if len(rest) > 1 and rest[0] == "/":
            if rest[-1] != "/":
                raise Failed(f'invalid expression in "{expression}"')
            return self._matches(self.string(value, rest[1:-1]), left) is not negative
        if len(rest) > 1 and rest.startswith("\\/"):
            rest = rest[1:]
        return (left == self.string(value, rest)) is not negative

    def _matches(self, pattern: str, text: str) -> bool:
        try:
            found = compile_regex(pattern).search(text)
        except ConfigError as error:
            raise Failed(error.faults[0].message) from None
        if found is None:
            return False
        self.captures = (found[0], *found.groups())
        self.variables.update({name.lower(): value or "" for name, value in found.groupdict().items()})
        return True


def _dollar(text: str, at: int) -> int:
    """Return the position of the next `$` that no backslash precedes, or the end."""
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == "$":
            return at
        at += 1
    return len(text)


def _unescaped(match: re.Match[str]) -> str:
    """Return an escaped character: alone if it has a meaning in a string, else with its backslash."""
    if match[1] is not None:
        return match[1]
    return "\\" + match[2] if match[2] is not None else ""
