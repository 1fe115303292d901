r"""The translation of nginx's regular expressions (PCRE) to Python's.

Rules:
- A pattern matches the same strings as in nginx or is refused when the configuration is read. A construct that Python lacks is a
  ConfigError, never an approximation.
- As in nginx without UTF mode, a character is a byte, and classes and case are those of ASCII.
- Translated differences: `(?<n>…)`, `(?'n'…)`, `\g1`, `\k<n>`, `\z`, `\Z`, `\h`, `\v`, `\R`, `\N`, `\e`, `\x{…}`, `\Q…\E`,
  `[[:alpha:]]`, brackets inside classes, and `(?i)` in mid-pattern. `\p{…}` becomes a class of the bytes that have the property:
  a byte counts as the character of Unicode with its number (Latin-1).
Source: pcre2pattern(3).
"""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache
from typing import NoReturn

from ..errors import ConfigError, Fault

_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": "\\x00-\\x7f",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\t-\\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_ANY_BYTE = r"[\x00-\xff]"
_ESCAPES = {
    "z": r"\Z",
    "Z": r"(?=\n?\Z)",
    "h": r"[ \t\xa0]",
    "H": r"[^ \t\xa0]",
    "v": r"[\n\x0b\f\r\x85]",
    "V": r"[^\n\x0b\f\r\x85]",
    "R": r"(?:\r\n|[\n\x0b\f\r\x85])",
    "N": r"[^\n]",
    "e": r"\x1b",
    "C": _ANY_BYTE,
}
_CLASS_ESCAPES = {"h": r" \t\xa0", "v": r"\n\x0b\f\r\x85", "e": r"\x1b"}
_KEPT = frozenset("AbBdDsSwWnrtfa0123456789")
_GROUP_NAME = re.compile(r"\(\?(?:P?<([A-Za-z_]\w*)>|'([A-Za-z_]\w*)')", re.ASCII)
_BACK_NAME = re.compile(r"\\k(?:<(\w+)>|\{(\w+)\}|'(\w+)')|\\g\{([A-Za-z_]\w*)\}", re.ASCII)
_BACK_NUMBER = re.compile(r"\\g(?:\{(\d+)\}|(\d+))")
_FLAGS = re.compile(r"\(\?([imsx]*)(?:-([imsx]+))?([:)])")
_HEX = re.compile(r"\\x\{([0-9A-Fa-f]{1,2})\}")
_SHORT_HEX = re.compile(r"\\x([0-9A-Fa-f]{0,2})")
_OCTAL = re.compile(r"\\o\{([0-7]{1,3})\}")
_POSSESSIVE = re.compile(r"(?:[*+?]|\{\d+(?:,\d*)?\})\+")
_PROPERTY = re.compile(r"\\([pP])(?:([A-Z])|\{(\^?)\s*([A-Za-z_& ]+?)\s*\})")
_CATEGORIES = "c cc cf cn co cs l ll lm lo lt lu m mc me mn n nd nl no p pc pd pe pf pi po ps s sc sk sm so z zl zp zs".split()
_OTHER_SCRIPTS = """arabic armenian bengali coptic cyrillic devanagari ethiopic georgian greek gujarati han hangul hebrew hiragana
inherited kannada katakana khmer lao malayalam mongolian myanmar syriac tamil telugu thai tibetan""".split()
"""Scripts without a character in Latin-1."""
_POSIX_CLASS = re.compile(r"\[:(\^?)([a-z]+):\]")


def compile_regex(text: str, ignore_case: bool = False) -> re.Pattern[str]:
    """Return a compiled PCRE pattern. Raise ConfigError in nginx's words if it is broken or has no equivalent in Python."""
    flags = re.ASCII | (re.IGNORECASE if ignore_case else 0)
    try:
        return re.compile(_Translation(text).run(), flags)
    except (re.error, OverflowError, RecursionError) as error:
        message = f'pcre2_compile() failed: {getattr(error, "msg", None) or error} in "{text}"'
        raise ConfigError(Fault(message)) from None


@cache
def _with_property(name: str) -> frozenset[int] | None:
    """Return the bytes with a property (pcre2pattern(3)), named in lower case without spaces; None for an unknown one."""
    kinds = {code: unicodedata.category(chr(code)).lower() for code in range(256)}
    words = {code for code, kind in kinds.items() if kind[0] in "ln"}
    space = {code for code, kind in kinds.items() if kind[0] == "z"} | set(b"\t\n\v\f\r\x85")
    latin = {code for code in words if kinds[code][0] == "l"} - {0xB5}
    found = {
        "any": set(kinds),
        "l&": {code for code, kind in kinds.items() if kind in ("lu", "ll", "lt")},
        "latin": latin,
        "common": set(kinds) - latin,
        "xan": words,
        "xwd": words | {ord("_")},
        **dict.fromkeys(("xps", "xsp"), space),
        "xuc": set(b"$@`") | set(range(0xA0, 0x100)),
    }.get(name)
    if found is None and name in _CATEGORIES:
        found = {code for code, kind in kinds.items() if kind.startswith(name)}
    return frozenset(found) if found is not None else frozenset() if name in _OTHER_SCRIPTS else None


class _Translation:
    """The translation of one pattern. `opened` counts, per open group, the groups added for its flags."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.out: list[str] = []
        self.opened: list[list[str]] = [[]]

    def fail(self, what: str) -> NoReturn:
        raise re.error(f"{what} at offset {self.at}")

    def run(self) -> str:
        text = self.text
        while self.at < len(text):
            char = text[self.at]
            if char == "\\":
                self.escape()
            elif char == "[":
                self.character_class()
            elif char == "(":
                self.group()
            elif char == ")":
                if len(self.opened) == 1:
                    self.fail("unmatched closing parenthesis")
                self.emit(")" * (len(self.opened.pop()) + 1), 1)
            elif char == "|":
                added = self.opened[-1]
                self.emit(")" * len(added) + "|" + "".join(added), 1)
            else:
                self.quantifier_or_literal(char)
        return "".join(self.out) + ")" * len(self.opened[0])

    def emit(self, translated: str, length: int) -> None:
        self.out.append(translated)
        self.at += length

    def quantifier_or_literal(self, char: str) -> None:
        match = _POSSESSIVE.match(self.text, self.at)
        if match is not None:
            self.need_python_311("possessive quantifiers")
            self.emit(match[0], len(match[0]))
        else:
            self.emit(char, 1)

    def need_python_311(self, what: str) -> None:
        if sys.version_info < (3, 11):
            self.fail(f"{what} need Python 3.11")

    def escape(self) -> None:
        """Translate one escape outside a class."""
        text, at = self.text, self.at
        if at + 1 == len(text):
            self.fail("\\ at end of pattern")
        letter = text[at + 1]
        if letter == "Q":
            end = text.find("\\E", at + 2)
            literal = text[at + 2 : end if end >= 0 else None]
            self.emit(re.escape(literal), len(literal) + (4 if end >= 0 else 2))
        elif letter == "E":
            self.emit("", 2)
        elif (match := _BACK_NAME.match(text, at)) is not None:
            self.emit(f"(?P={next(filter(None, match.groups()))})", len(match[0]))
        elif (match := _BACK_NUMBER.match(text, at)) is not None:
            self.emit(f"(?:\\{match[1] or match[2]})", len(match[0]))
        elif letter in _ESCAPES:
            self.emit(_ESCAPES[letter], 2)
        elif letter in "pP":
            # The case of a letter counts even where the pattern ignores case.
            members = self.property()
            self.out.append(f"(?-i:[{members}])" if members else "(?!)")
        else:
            self.character_escape()

    def property(self) -> str:
        """Consume `\\p{…}` or `\\P{…}` and return its bytes as members of a class."""
        match = _PROPERTY.match(self.text, self.at)
        if match is None:
            self.fail("malformed \\P or \\p sequence")
        found = _with_property((match[2] or match[4]).lower().replace("_", "").replace(" ", ""))
        if found is None:
            self.fail("unknown property after \\P or \\p")
        self.at = match.end()
        inverted = (match[1] == "P") != bool(match[3])
        return "".join(f"\\x{code:02x}" for code in range(256) if (code in found) != inverted)

    def character_escape(self) -> None:
        """Translate an escape for one character or a class of them, inside or outside a class."""
        text, at = self.text, self.at
        letter = text[at + 1]
        if letter == "x":
            match = _HEX.match(text, at) or _SHORT_HEX.match(text, at)
            assert match is not None
            self.emit(f"\\x{match[1]:0>2}", len(match[0]))
        elif letter == "o" and (match := _OCTAL.match(text, at)) is not None:
            self.emit(f"\\x{int(match[1], 8) & 255:02x}", len(match[0]))
        elif letter == "c" and at + 2 < len(text):
            self.emit(f"\\x{ord(text[at + 2].upper()) ^ 64:02x}", 3)
        elif letter in _KEPT or not (letter.isascii() and letter.isalnum()):
            self.emit(re.escape(letter) if not letter.isalnum() else "\\" + letter, 2)
        else:
            self.fail(f"\\{letter} is not supported")

    def group(self) -> None:
        """Translate an opening parenthesis and the characters that qualify it."""
        text, at = self.text, self.at
        if text.startswith("(*", at):
            self.fail("(*VERB) is not supported")
        if not text.startswith("(?", at):
            self.open("(", 1)
        elif (match := _GROUP_NAME.match(text, at)) is not None:
            self.open(f"(?P<{match[1] or match[2]}>", len(match[0]))
        elif text.startswith("(?#", at):
            end = text.find(")", at)
            if end < 0:
                self.fail("missing ) after comment")
            self.emit("", end + 1 - at)
        elif (match := _FLAGS.match(text, at)) is not None:
            self.flags(match)
        elif text.startswith("(?>", at):
            self.need_python_311("atomic groups")
            self.open("(?>", 3)
        elif (match := re.compile(r"\(\?(?:<?[=!]|P=\w+\)|\(\w+\))").match(text, at)) is not None:
            if match[0].startswith("(?P="):
                self.emit(match[0], len(match[0]))
            else:
                self.open(match[0], len(match[0]))
        else:
            self.fail(f"{text[at : at + 4]} is not supported")

    def open(self, translated: str, length: int) -> None:
        self.opened.append([])
        self.emit(translated, length)

    def flags(self, match: re.Match[str]) -> None:
        """Translate `(?i:…)`, or `(?i)`, which applies to the end of the group around it, alternatives included."""
        on, off, end = match.groups()
        opening = f"(?{on}{'-' + off if off else ''}:"
        if end == ":":
            self.open(opening, len(match[0]))
        else:
            self.opened[-1].append(opening)
            self.emit(opening, len(match[0]))

    def character_class(self) -> None:
        text = self.text
        start = len(self.out)
        self.emit("[", 1)
        negated = text.startswith("^", self.at)
        if negated:
            self.emit("^", 1)
        first = True
        properties: str | None = None
        while first or not text.startswith("]", self.at):
            if self.at >= len(text):
                self.fail("missing terminating ] for character class")
            char = text[self.at]
            match = _POSIX_CLASS.match(text, self.at)
            if match is not None:
                self.posix(match)
            elif char == "\\" and self.at + 1 < len(text):
                letter = text[self.at + 1]
                if letter in "pP":
                    properties = (properties or "") + self.property()
                elif letter in _CLASS_ESCAPES:
                    self.emit(_CLASS_ESCAPES[letter], 2)
                elif letter in "BRX":
                    self.fail(f"\\{letter} is not supported in a character class")
                else:
                    self.character_escape()
            elif char == "-" and text.startswith("--", self.at):
                self.emit("\\-" if first else "-\\-", 1 if first else 2)
            else:
                # Python reserves `[`, `&&`, `||`, `~~` and `--` in classes.
                self.emit("\\" + char if char in "[]&|~\\" else char, 1)
            first = False
        self.emit("]", 1)
        if properties is not None:
            self.with_properties(start, properties, negated)

    def with_properties(self, start: int, properties: str, negated: bool) -> None:
        """Add members whose case counts to the class that begins at `out[start]`."""
        rest = "".join(self.out[start:])
        del self.out[start:]
        exact = f"(?-i:[{properties}])" if properties else "(?!)"
        if negated:
            self.out.append(f"(?:(?!{exact}){_ANY_BYTE if rest == '[^]' else rest})")
        else:
            self.out.append(exact if rest == "[]" else f"(?:{exact}|{rest})")

    def posix(self, match: re.Match[str]) -> None:
        inverted, name = match.groups()
        if name not in _POSIX:
            self.fail("unknown POSIX class name")
        members = _POSIX[name]
        if inverted:
            pattern = re.compile(f"[{members}]")
            members = "".join(f"\\x{code:02x}" for code in range(256) if not pattern.match(chr(code)))
        self.emit(members, len(match[0]))
