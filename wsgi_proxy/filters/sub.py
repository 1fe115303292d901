"""`sub_filter`: replaces texts in the body.

Rules:
- At each place the first directive that matches counts, in any case of ASCII letters. A replacement is not searched again.
- A text may lie in several blocks: the beginning of a match is held back until the following bytes decide. At the end of the body
  such a beginning stays as it is.
- With `sub_filter_once on` (the default) each text is replaced once. The value of a replacement is that at its first match.
- All statuses of the types of `sub_filter_types` are searched, as they are: a compressed body has no match.
Source: ngx_http_sub_filter_module, by behaviour.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from .fields import has_type, rewrite
from .pipeline import Filter, Transform

if TYPE_CHECKING:
    from ..config import Location, SubSettings
    from ..exchange import Exchange
    from ..response import Response

Replacement = Callable[[], bytes]


def compile_sub(location: Location) -> Filter | None:
    """Return the filter of a location; None without `sub_filter`."""
    return Sub(location.sub) if location.sub.pairs else None


class Sub:
    """The filter of one location."""

    __slots__ = ("_settings",)

    def __init__(self, settings: SubSettings) -> None:
        self._settings = settings

    def __call__(self, exchange: Exchange, response: Response) -> Transform | None:
        settings = self._settings
        if response.header("content-length") == "0" or not has_type(response, settings.types):
            return None
        pairs: list[tuple[bytes, Replacement]] = []
        for pattern, value in settings.pairs:
            text = pattern(exchange).encode("latin-1")
            if text:
                pairs.append((text, lambda value=value: value(exchange).encode("latin-1")))  # type: ignore[misc]
        if not pairs:
            return None
        if not exchange.subrequest:
            rewrite(response, settings.last_modified)
        return Substitution(pairs, settings.once)


class Substitution:
    """The replacements in one body: (text, function that gives its replacement) in the order of the directives."""

    def __init__(self, pairs: list[tuple[bytes, Replacement]], once: bool) -> None:
        self._once = once
        self._left: list[int] = list(range(len(pairs)))
        """The numbers of the texts that are still searched, in order."""
        self._texts = [text.lower() for text, _ in pairs]
        self._replacements = [replacement for _, replacement in pairs]
        self._values: dict[int, bytes] = {}
        self._compile()

    def _compile(self) -> None:
        texts = [self._texts[number] for number in self._left]
        self._pattern = re.compile(b"|".join(b"(%b)" % re.escape(text) for text in texts), re.IGNORECASE)
        self._longest = max(map(len, texts), default=0)

    def __call__(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the blocks with the texts replaced."""
        held = b""
        for block in blocks:
            if not block:
                yield block
                continue
            done, held = self.feed(held + block if held else block)
            if done:
                yield done
        if held:
            yield held

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the finished part of the data, and the rest, which may be the beginning of a match."""
        pieces: list[bytes] = []
        at = 0
        while self._left:
            match = self._pattern.search(data, at)
            start, waiting = self._beginning(data, at)
            if match is not None:
                number = self._left[(match.lastindex or 1) - 1]
                if match.start() < start or (match.start() == start and number < waiting):
                    pieces += (data[at : match.start()], self._value(number))
                    at = match.end()
                    continue
            pieces.append(data[at:start])
            return b"".join(pieces), data[start:]
        pieces.append(data[at:])
        return b"".join(pieces), b""

    def _beginning(self, data: bytes, at: int) -> tuple[int, int]:
        """Return where the data ends with the beginning of a text, and the text's number; (length of the data, -1) if nowhere."""
        size = len(data)
        first = max(at, size - self._longest + 1)
        tail = data[first:].lower()
        for offset in range(len(tail)):
            rest = tail[offset:]
            for number in self._left:
                text = self._texts[number]
                if len(text) > len(rest) and text.startswith(rest):
                    return first + offset, number
        return size, -1

    def _value(self, number: int) -> bytes:
        """Return the replacement of a text, which is evaluated once."""
        value = self._values.get(number)
        if value is None:
            value = self._values[number] = self._replacements[number]()
        if self._once:
            self._left.remove(number)
            self._compile()
        return value
