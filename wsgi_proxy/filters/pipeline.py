"""The filters of one location, and a body that passes through them.

Rules:
- A filter is made once per location and called once per response. It decides by the settings, the request and the response's
  fields. If it applies, it adapts the fields and returns a `Transform`; otherwise it changes nothing.
- A filter only reads the exchange. It may be called for a copy of a response, to learn whether it would apply (`whole`).
- A `Transform` turns an iterator of blocks into another one. An empty block is a mark, not data: no further block is at hand, so
  the transform yields everything that it can and then passes the mark on. A transform may otherwise hold back and join bytes.
- The end of the input ends the body. An exception of the input passes through, behind a mark, so that a truncated body arrives
  as far as it came and stays truncated.
- A body of known length is no stream of events: as in nginx its blocks are joined, unless `proxy_buffering` is off.
- A filter whose attribute `instant` is True makes transforms that neither wait nor multiply the size of their input. A body at
  hand then passes in one piece, and leaves together with its head.
- A tunnel is not filtered. A response without a body (HEAD, 204, 304) gets the fields alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from ..response import FileBody, Response
from ..tunnel import Tunnelled

if TYPE_CHECKING:
    from ..exchange import Exchange

Transform = Callable[[Iterator[bytes]], Iterator[bytes]]
"""See the rules of the module."""

Filter = Callable[["Exchange", Response], "Transform | None"]
"""A filter of one location; see the rules of the module."""

SMALL_FILE: Final = 64 * 1024
"""Bytes of a file that is filtered and sent in one piece."""

_WITHOUT_BODY: Final = frozenset({204, 304})


class Filters:
    """The filters of one location, in the order in which a response passes them."""

    __slots__ = ("_filters",)

    def __init__(self, filters: tuple[Filter, ...]) -> None:
        self._filters = filters

    def __call__(self, exchange: Exchange, response: Response) -> None:
        """Adapt a response's fields, and put its body behind the transforms of the filters that apply."""
        if response.status < 200 or isinstance(response.body, Tunnelled):
            return
        transforms: list[Transform] = []
        instant, joined = True, response.length is not None
        for each in self._filters:
            transform = each(exchange, response)
            if transform is not None:
                transforms.append(transform)
                instant = instant and getattr(each, "instant", False)
        if transforms and exchange.method != "HEAD" and response.status not in _WITHOUT_BODY:
            response.body = FilteredBody(response.body, transforms, instant, joined)

    def whole(self, exchange: Exchange, response: Response) -> bool:
        """Return True if a filter changes the length of this response, of which no range can be sent then."""
        return self.probed(exchange, response).length is None

    def probed(self, exchange: Exchange, response: Response) -> Response:
        """Return a copy of a response with the fields that the filters would give it; its length is None if one changes it."""
        probe = Response(response.status, response.headers.copy(), length=0)
        probe.source, probe.varies = response.source, response.varies
        for each in self._filters:
            each(exchange, probe)
        return probe


class FilteredBody:
    """A body behind transforms. Closing it closes the other body."""

    __slots__ = ("_body", "_instant", "_joined", "_transforms")

    def __init__(self, body: Iterable[bytes], transforms: list[Transform], instant: bool = False, joined: bool = False) -> None:
        self._body: Any = body
        self._transforms = transforms
        self._instant = instant
        self._joined = joined

    def __iter__(self) -> Iterator[bytes]:
        return filter(None, self._through(marked(self._body, self._joined)))

    def _through(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        for transform in self._transforms:
            blocks = transform(blocks)
        return blocks

    def at_hand(self) -> bytes | None:
        """Return the whole filtered body if the other body has arrived, in one block, and no transform waits; else None."""
        if not self._instant:
            return None
        body = self._body
        if isinstance(body, tuple):
            block = body[0] if len(body) == 1 else None
        elif isinstance(body, FileBody):
            block = b"".join(body) if body.count <= SMALL_FILE else None
        else:
            take: Any = getattr(body, "at_hand", None)
            block = take() if take is not None else None
        return None if block is None else b"".join(self._through(iter((block,))))

    def ready(self) -> bool:
        """Return True if the other body's first block has arrived."""
        ready: Any = getattr(self._body, "ready", None)
        return ready is None or bool(ready())

    def close(self) -> None:
        """Close the other body; safe to call more than once."""
        body, self._body = self._body, ()
        close = getattr(body, "close", None)
        if close is not None:
            close()


def marked(body: Iterable[bytes], joined: bool = False) -> Iterator[bytes]:
    """Return the blocks of a body, with an empty block where no further block is at hand.

    A body that waits for its blocks has `next_at_hand()`, which returns True if the next block, or the end, can be had without
    waiting. Blocks of any other body that is neither a file nor in memory are all followed by a mark. A `joined` body has none,
    unless its attribute `buffered` is False (`proxy_buffering off`).
    """
    if isinstance(body, (tuple, list)):
        return iter(body)
    if isinstance(body, FileBody) or (joined and getattr(body, "buffered", True)):
        return _marked(body, _always)
    return _marked(body, getattr(body, "next_at_hand", None))


def _always() -> bool:
    """Return True: the body is at hand, or need not be sent before more of it is."""
    return True


def _marked(body: Iterable[bytes], next_at_hand: Callable[[], bool] | None) -> Iterator[bytes]:
    try:
        for block in body:
            yield block
            if next_at_hand is None or not next_at_hand():
                yield b""
    except Exception:
        # The client gets everything that arrived before the body broke off.
        yield b""
        raise
