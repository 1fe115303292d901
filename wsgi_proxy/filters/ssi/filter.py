"""`ssi`: carries out the commands in the bodies of responses.

Rules:
- A command that fails gives the error message of the page (`config errmsg`), or nothing with `ssi_silent_errors on`, and a line
  in the error log. An unknown command in a branch that is not taken is ignored.
- The text before an `include` leaves before the response to its subrequest is asked for. Includes are carried out in their order.
- An included response passes the filters of its location, and not those of the page's location.
Source: ngx_http_ssi_filter_module, by behaviour.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...logs import errorlog
from ..fields import has_type, rewrite
from .commands import COMMANDS, Run
from .page import Failed, Page
from .scanner import MAX_PARAMETERS, Command, Fault, Scanner

if TYPE_CHECKING:
    from ...config import Location, SSISettings
    from ...exchange import Exchange
    from ...response import Response
    from ..pipeline import Filter, Transform


def compile_ssi(location: Location) -> Filter | None:
    """Return the filter of a location; None without `ssi on`."""
    return SSI(location.ssi) if location.ssi.enabled else None


class SSI:
    """The filter of one location."""

    __slots__ = ("_settings",)

    def __init__(self, settings: SSISettings) -> None:
        self._settings = settings

    def __call__(self, exchange: Exchange, response: Response) -> Transform | None:
        settings = self._settings
        if response.header("content-length") == "0" or not has_type(response, settings.types):
            return None
        if not exchange.subrequest:
            rewrite(response, settings.last_modified)

        def included(blocks: Iterator[bytes]) -> Iterator[bytes]:
            if exchange.page is None:
                exchange.page = Page(settings.lookup)
            return _Text(exchange, settings, exchange.page).run(blocks)

        return included


class _Text:
    """One body that is being worked on."""

    def __init__(self, exchange: Exchange, settings: SSISettings, page: Page) -> None:
        self._exchange = exchange
        self._settings = settings
        self._scanner = Scanner(settings.value_length)
        self._run = Run(exchange, page)

    def run(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the body with its commands carried out."""
        for block in blocks:
            if not block:
                yield block
                continue
            for found in self._scanner.feed(block):
                if isinstance(found, bytes):
                    yield from self._text(found)
                else:
                    yield from self._carry_out(found)
        yield from self._text(self._scanner.rest())

    def _text(self, text: bytes) -> Iterator[bytes]:
        run = self._run
        if text and run.output:
            yield text
        elif text and run.block is not None:
            run.block.append(text)

    def _carry_out(self, found: Command | Fault) -> Iterator[bytes]:
        try:
            if isinstance(found, Fault):
                raise Failed(found.message)
            yield from self._command(found)
        except Failed as error:
            errorlog.line("error", str(error), self._exchange)
            if not self._settings.silent_errors:
                yield self._run.errmsg.encode("latin-1")

    def _command(self, found: Command) -> Iterator[bytes]:
        run = self._run
        command = COMMANDS.get(found.name)
        if command is None:
            if not run.output:
                return
            raise Failed(f'invalid SSI command: "{found.name}"')
        if not run.output and not command.block:
            if run.block is not None:
                run.block.append(found.text())
                return
            if not command.conditional:
                return
        if command.conditional and (not run.conditional or run.conditional > command.conditional):
            raise Failed(f'invalid context of SSI command: "{found.name}"')
        if len(found.parameters) > MAX_PARAMETERS:
            raise Failed(f'too many SSI command parameters: "{found.name}"')
        given: dict[str, str] = {}
        for name, value in found.parameters:
            if name not in command.parameters:
                raise Failed(f'invalid parameter name: "{name}" in "{found.name}" SSI command')
            if name in given:
                raise Failed(f'duplicate "{name}" parameter in "{found.name}" SSI command')
            given[name] = value
        for name in command.mandatory:
            if name not in given:
                raise Failed(f'mandatory "{name}" parameter is absent in "{found.name}" SSI command')
        yield from command.act(run, given)
