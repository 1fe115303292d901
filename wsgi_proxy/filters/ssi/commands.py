"""The commands of Server Side Includes: include, echo, set, if, config, block.

Rules:
- A command is a row of COMMANDS. Its function yields the bytes that take the command's place, and raises `Failed`.
- `stub` takes the place of an included response that is empty or a standard page; `set` keeps a response of at most
  `subrequest_output_buffer_size` bytes.
Source: ngx_http_ssi_filter_module, by behaviour.
"""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import ProxyError
from ...http import split_unsafe
from ...logs import errorlog
from ..pipeline import marked
from .page import Failed, Page

if TYPE_CHECKING:
    from ...exchange import Exchange

Parameters = Mapping[str, str]

ERRMSG = "[an error occurred while processing the directive]"
IF, ELSE = 1, 2

_UNSAFE_URL = re.compile(r"[\x00-\x20\"#%'<>\\^`{|}\x7f-\xff]")
_ENCODINGS = ("none", "url", "entity")


class Run:
    """The state of one body: the branch that is being taken, the block that is being collected, and the formats of `config`."""

    def __init__(self, exchange: Exchange, page: Page) -> None:
        self.exchange = exchange
        self.page = page
        self.output = True
        self.chosen = False
        """True if a branch of the present `if` was taken."""
        self.conditional = 0
        """`IF` after `if` and `elif`, `ELSE` after `else`, 0 outside."""
        self.block: list[bytes] | None = None
        self.encoding = "entity"
        self.errmsg = ERRMSG
        self.timefmt = ""

    def value(self, name: str) -> str | None:
        """Return a variable, with the dates in the format of the page."""
        if self.timefmt and name.lower() in ("date_gmt", "date_local") and name.lower() not in self.page.variables:
            now = time.time()
            if self.timefmt == "%s":
                return str(int(now))
            return time.strftime(self.timefmt, time.gmtime(now) if name.lower() == "date_gmt" else time.localtime(now))
        return self.page.value(self.exchange, name)


# --- include ----------------------------------------------------------------------------------------------------------------


def _include(run: Run, given: Parameters) -> Iterator[bytes]:
    uri, stub, name = _target(given), given.get("stub"), given.get("set")
    exchange, page = run.exchange, run.page
    text = page.string(run.value, uri, exchange.uri[: exchange.uri.rfind("/") + 1])
    parts = split_unsafe(text)
    if parts is None:
        raise Failed(f'unsafe URI "{text}" was detected')
    block = _block(page, stub) if stub is not None else None
    # The text before the command leaves while the subrequest is under way.
    yield b""
    try:
        answer = exchange.subrequests.answer(exchange, *parts, bare=name is not None or block is not None)
    except ProxyError as error:
        raise Failed(str(error)) from error
    try:
        if name is not None:
            _keep(run, name, answer.response)
            return
        empty = True
        for piece in marked(answer.response.body):
            empty = empty and not piece
            yield piece
        if empty and block is not None:
            yield from block
    finally:
        answer.close()


def _target(given: Parameters) -> str:
    """Return the URI of an include, after the checks of its parameters."""
    virtual, file, wait = given.get("virtual"), given.get("file"), given.get("wait")
    if virtual is not None and file is not None:
        raise Failed(f'inclusion may be either virtual="{virtual}" or file="{file}"')
    uri = virtual if virtual is not None else file
    if uri is None:
        raise Failed('no parameter in "include" SSI command')
    if "set" in given and "stub" in given:
        raise Failed('"set" and "stub" cannot be used together in "include" SSI command')
    if wait is not None:
        if virtual is None:
            raise Failed(f'"wait" cannot be used with file="{file}"')
        if wait.lower() not in ("yes", "no"):
            raise Failed(f'invalid value "{wait}" in the "wait" parameter')
    return uri


def _block(page: Page, name: str) -> list[bytes]:
    for known, block in page.blocks:
        if known == name:
            return block
    raise Failed(f'"stub"="{name}" for "include" not found')


def _keep(run: Run, name: str, response: object) -> None:
    """Put the body of a response into a variable, which stays as it is if the response is no success or too long."""
    variables = run.page.variables
    name = name.lower()
    variables.setdefault(name, "")
    limit: int = run.exchange.location.core.subrequest_output_buffer_size
    body = bytearray()
    for piece in response.body:  # type: ignore[attr-defined]
        body += piece
        if len(body) > limit:
            errorlog.line("error", f"too big subrequest response: {len(body)}", run.exchange)
            return
    if response.status < 300:  # type: ignore[attr-defined]
        variables[name] = body.decode("latin-1")


# --- the other commands -----------------------------------------------------------------------------------------------------


def _echo(run: Run, given: Parameters) -> Iterator[bytes]:
    value = run.value(given["var"])
    if value is None:
        value = given.get("default", "(none)")
    if not value:
        return
    encoding = given.get("encoding")
    if encoding in _ENCODINGS:
        run.encoding = encoding
    elif encoding is not None:
        errorlog.line("error", f'unknown encoding "{encoding}" in the "echo" command', run.exchange)
    if run.encoding == "url":
        value = _UNSAFE_URL.sub(lambda match: f"%{ord(match[0]):02X}", value)
    elif run.encoding == "entity":
        value = html.escape(value, quote=False).replace('"', "&quot;")
    yield value.encode("latin-1", "replace")


def _config(run: Run, given: Parameters) -> Iterator[bytes]:
    run.timefmt = given.get("timefmt", run.timefmt)
    run.errmsg = given.get("errmsg", run.errmsg)
    return iter(())


def _set(run: Run, given: Parameters) -> Iterator[bytes]:
    run.page.variables[given["var"].lower()] = run.page.string(run.value, given["value"])
    return iter(())


def _if(run: Run, given: Parameters) -> Iterator[bytes]:
    if run.conditional:
        raise Failed('the "if" command inside the "if" command')
    return _elif(run, given)


def _elif(run: Run, given: Parameters) -> Iterator[bytes]:
    if run.chosen:
        run.output = False
    else:
        run.output = run.chosen = run.page.holds(run.value, given["expr"])
        run.conditional = IF
    return iter(())


def _else(run: Run, given: Parameters) -> Iterator[bytes]:
    run.output = not run.chosen
    run.conditional = ELSE
    return iter(())


def _endif(run: Run, given: Parameters) -> Iterator[bytes]:
    run.output, run.chosen, run.conditional = True, False, 0
    return iter(())


def _begin_block(run: Run, given: Parameters) -> Iterator[bytes]:
    run.block = []
    run.page.blocks.append((given["name"], run.block))
    run.output = False
    return iter(())


def _end_block(run: Run, given: Parameters) -> Iterator[bytes]:
    run.output, run.block = True, None
    return iter(())


@dataclass(frozen=True)
class Rule:
    """A command: its function, its parameters, and the context it needs."""

    act: Callable[[Run, Parameters], Iterator[bytes]]
    parameters: frozenset[str] = frozenset()
    mandatory: tuple[str, ...] = ()
    conditional: int = 0
    block: bool = False
    """The command also counts inside a block."""


COMMANDS: Mapping[str, Rule] = {
    "include": Rule(_include, frozenset({"virtual", "file", "wait", "set", "stub"})),
    "echo": Rule(_echo, frozenset({"var", "default", "encoding"}), ("var",)),
    "config": Rule(_config, frozenset({"errmsg", "timefmt"})),
    "set": Rule(_set, frozenset({"var", "value"}), ("var", "value")),
    "if": Rule(_if, frozenset({"expr"}), ("expr",)),
    "elif": Rule(_elif, frozenset({"expr"}), ("expr",), IF),
    "else": Rule(_else, conditional=IF),
    "endif": Rule(_endif, conditional=ELSE),
    "block": Rule(_begin_block, frozenset({"name"}), ("name",)),
    "endblock": Rule(_end_block, block=True),
}
"""The commands by name."""
