"""The tokens of nginx.conf: crossplane's lexer, corrected where it differs from nginx.

Rules:
- `${name}` outside quotes (crossplane reads on to the next blank) and a `}` inside a word (it ends the block) are masked.
- Only blank, tab, CR and LF are white space, and every byte survives.
- Text directly behind a closing quote is a fault, and so is a quote or a statement that is never closed.
- Text is converted to WSGI's form (one character per byte), and escapes are resolved once, as in nginx.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from operator import length_hint
from typing import NamedTuple

from crossplane.lexer import _lex_file_object

from ..errors import ConfigError, Fault
from .directives.reading import as_shown

MAX_WORD = 4096
"""The largest argument in bytes, the size of nginx's buffer."""
# Text that crossplane reads differently from nginx, outside or inside quotes: an escaped `$`, a `}` behind an escape, `${`, a `}`
# that does not begin a word, and characters that are white space to Python only. They are masked by characters that no file
# contains, because bytes become U+0000 to U+007F and U+DC80 to U+DCFF.
_MASKED = re.compile(r"\\.\}*|\$\{+\}*|(?<=[^ \t\r\n;{}])\}+|[\x0b\x0c\x1c-\x1f]", re.DOTALL)
_MASK = 0xE000
_UNMASK = {_MASK + code: code for code in range(128)}
_ESCAPE = re.compile(r"\\([\"'\\trn])")
_ESCAPED = {"t": "\t", "r": "\r", "n": "\n"}
_COMMENTS = re.compile(r"#[^\n]*(?:\n|\Z)")
_BEHIND_QUOTE = frozenset(" \t\r\n;{)")


class Token(NamedTuple):
    """A word, `{`, `}` or `;` with its line; `quoted` if it was within quotes."""

    text: str
    line: int
    quoted: bool


def fault_at(message: str, path: str, line: int) -> ConfigError:
    """Return the error for one fault at a line of a file."""
    return ConfigError(Fault(as_shown(message), path, line))


def ended(path: str, line: int) -> ConfigError:
    """Return the fault of a text that ends within a statement. A text without a file is the command line's."""
    what = 'file, expecting ";" or "}"' if path else 'parameter, expecting ";"'
    return fault_at(f"unexpected end of {what}", path, line)


def prepared(data: bytes) -> str:
    """Return the text for crossplane: one character per byte, no white space that only Python knows, and masks over the text that
    it reads differently from nginx.
    """
    text = data.removeprefix(b"\xef\xbb\xbf").decode("ascii", "surrogateescape")
    return _MASKED.sub(_mask, text)


def _mask(match: re.Match[str]) -> str:
    found = match[0]
    if found[0] != "\\":
        return "".join(chr(_MASK + ord(char)) for char in found)
    # crossplane reads an escaped `$` before a `{` as a variable; it reads all other escapes correctly.
    escaped = chr(_MASK + ord("$")) if found[1] == "$" else found[1]
    return "\\" + escaped + "".join(chr(_MASK + ord(char)) for char in found[2:])


def tokens(text: str, path: str) -> Iterator[Token]:
    """Yield crossplane's tokens without comments, unmasked, unescaped, in WSGI's form."""
    # crossplane takes one character at a time from this iterator and never looks ahead, so the number of characters left gives
    # the end of the token.
    characters = iter(text)
    length = len(text)
    at = 0
    for token, line, quoted in _lex_file_object((characters,)):
        at = length - length_hint(characters)
        if len(token) > MAX_WORD - 2 and not token.startswith("#"):
            raise fault_at(f'too long parameter "{_plain(token[:10])}..." started', path, line)
        if quoted:
            behind = text[at : at + 1]
            if behind and behind not in _BEHIND_QUOTE:
                raise fault_at(f'unexpected "{_plain(behind)}"', path, text.count("\n", 0, at) + 1)
        elif token[:1] == "#":
            continue
        yield Token(_plain(token), line, quoted)
    _check_end(text, at, path)


def _check_end(text: str, at: int, path: str) -> None:
    """Check the text behind the last token: crossplane silently drops an unclosed quote with the rest of the file."""
    rest = _COMMENTS.sub("", text[at:]).lstrip(" \t\r\n")
    if not rest:
        return
    line = text.count("\n", 0, text.index(rest[0], at)) + 1
    if len(rest) <= MAX_WORD:
        raise ended(path, text.count("\n") + 1)
    if rest[0] in "\"'":
        raise fault_at(f'too long parameter, probably missing terminating "{rest[0]}" character', path, line)
    raise fault_at(f'too long parameter "{_plain(rest[:10])}..." started', path, line)


def _plain(token: str) -> str:
    """Return a token without masks and escapes."""
    if token.isascii():
        text = token
    else:
        text = token.translate(_UNMASK).encode("ascii", "surrogateescape").decode("latin-1")
    if "\\" in text:
        text = _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), text)
    return text
