"""The commands in a text: `<!--# name parameter="value" -->`.

Rules:
- The text comes in blocks, and a command may lie in several of them. What may be the beginning of a command is held back.
- A malformed command is a `Fault` that lasts up to the next `-->`. A command without an end is lost with the text behind it.
- Memory is bounded: by 32 bytes for names and `ssi_value_length` for values; the largest number of parameters is 16.
Source: nginx, ngx_http_ssi_parse.
"""

from __future__ import annotations

from collections.abc import Iterator

_START = b"<!--#"
_BLANK = b" \r\n\t"
_LONGEST_NAME = 32
MAX_PARAMETERS = 16


class Command:
    """A complete command; `parameters` are (name, value) in their order."""

    __slots__ = ("name", "parameters")

    def __init__(self, name: str, parameters: list[tuple[str, str]]) -> None:
        self.name = name
        self.parameters = parameters

    def text(self) -> bytes:
        """Return the command as nginx writes it again."""
        shown = "".join(f' {name}="{value}"' for name, value in self.parameters)
        return f"<!--#{self.name}{shown} -->".encode("latin-1")


class Fault:
    """The end of a malformed command, with the message for the log."""

    __slots__ = ("message",)

    def __init__(self, message: str) -> None:
        self.message = message


Found = bytes | Command | Fault


class Scanner:
    """Splits one body into text and commands."""

    def __init__(self, value_length: int) -> None:
        self._longest = value_length
        self._held = b""
        self._inside = False
        self._state = self._before_command
        self._name = bytearray()
        self._parameters: list[tuple[bytearray, bytearray]] = []
        self._message = ""
        self._quote = 0
        self._escaped = False
        self._count = 0
        self._done: Command | Fault | None = None

    def feed(self, block: bytes) -> Iterator[Found]:
        """Yield the text and the commands of a block."""
        data, at = self._held + block, 0
        self._held = b""
        while at < len(data):
            if self._inside:
                at = self._read(data, at)
                if self._done is not None:
                    found, self._done = self._done, None
                    yield found
                continue
            start = data.find(_START, at)
            if start >= 0:
                if start > at:
                    yield data[at:start]
                at = start + len(_START)
                self._begin()
                continue
            end = len(data) - _beginning(data, at)
            if end > at:
                yield data[at:end]
            self._held = data[end:]
            return

    def rest(self) -> bytes:
        """Return the text that is held back at the end of the body."""
        return self._held

    # --- one command; each state takes one byte ---------------------------------------------------------------------------

    def _begin(self) -> None:
        self._inside = True
        self._state = self._before_command
        self._name = bytearray()
        self._parameters = []
        self._count = 0

    def _read(self, data: bytes, at: int) -> int:
        """Read bytes of a command up to its end, and return the position behind them."""
        while at < len(data):
            byte = data[at]
            at += 1
            self._state(byte)
            if not self._inside:
                break
        return at

    def _fail(self, message: str, byte: int = 0) -> None:
        self._message = message
        self._state = self._error_dash if byte == 0x2D else self._error

    def _words(self) -> tuple[str, str]:
        parameter = self._parameters[-1][0].decode("latin-1") if self._parameters else ""
        return self._name.decode("latin-1"), parameter

    def _before_command(self, byte: int) -> None:
        if byte not in _BLANK:
            self._name.append(byte)
            self._state = self._command

    def _command(self, byte: int) -> None:
        if byte in _BLANK:
            self._state = self._before_parameter
        elif byte == 0x2D:
            self._state = self._end_dash
        elif len(self._name) == _LONGEST_NAME:
            self._fail(f'the "{self._name.decode("latin-1")}{chr(byte)}..." SSI command is too long')
        else:
            self._name.append(byte)

    def _before_parameter(self, byte: int) -> None:
        if byte in _BLANK:
            return
        if byte == 0x2D:
            self._state = self._end_dash
            return
        self._count += 1
        if len(self._parameters) > MAX_PARAMETERS:
            self._parameters.pop()
        self._parameters.append((bytearray((byte,)), bytearray()))
        self._state = self._parameter

    def _parameter(self, byte: int) -> None:
        command, name = self._words()
        if byte in _BLANK:
            self._state = self._before_equals
        elif byte == 0x3D:
            self._state = self._before_value
        elif byte == 0x2D:
            self._fail(f'invalid "{name}" parameter in "{command}" SSI command', byte)
        elif len(name) == _LONGEST_NAME:
            self._fail(f'too long "{name}{chr(byte)}..." parameter in "{command}" SSI command')
        else:
            self._parameters[-1][0].append(byte)

    def _before_equals(self, byte: int) -> None:
        if byte == 0x3D:
            self._state = self._before_value
        elif byte not in _BLANK:
            command, name = self._words()
            self._fail(f'unexpected "{chr(byte)}" symbol after "{name}" parameter in "{command}" SSI command', byte)

    def _before_value(self, byte: int) -> None:
        if byte in b"\"'":
            self._quote, self._escaped = byte, False
            self._state = self._value
        elif byte not in _BLANK:
            command, name = self._words()
            message = f'unexpected "{chr(byte)}" symbol before value of "{name}" parameter in "{command}" SSI command'
            self._fail(message, byte)

    def _value(self, byte: int) -> None:
        if not self._escaped and byte == self._quote:
            self._state = self._behind_value
            return
        self._escaped = byte == 0x5C and not self._escaped
        value = self._parameters[-1][1]
        if len(value) == self._longest:
            command, name = self._words()
            text = f"{value.decode('latin-1')}{chr(byte)}..."
            self._fail(f'too long "{text}" value of "{name}" parameter in "{command}" SSI command')
        else:
            value.append(byte)

    def _behind_value(self, byte: int) -> None:
        if byte in _BLANK:
            self._state = self._before_parameter
        elif byte == 0x2D:
            self._state = self._end_dash
        else:
            command, name = self._words()
            value = self._parameters[-1][1].decode("latin-1")
            message = f'unexpected "{chr(byte)}" symbol after "{value}" value of "{name}" parameter in "{command}" SSI command'
            self._fail(message, byte)

    def _end_dash(self, byte: int) -> None:
        if byte == 0x2D:
            self._state = self._end
        else:
            self._fail(f'unexpected "{chr(byte)}" symbol in "{self._words()[0]}" SSI command')

    def _end(self, byte: int) -> None:
        if byte == 0x3E:
            parameters = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._parameters]
            self._done = Command(self._name.decode("latin-1"), parameters)
            self._inside = False
        else:
            self._fail(f'unexpected "{chr(byte)}" symbol in "{self._words()[0]}" SSI command')

    def _error(self, byte: int) -> None:
        if byte == 0x2D:
            self._state = self._error_dash

    def _error_dash(self, byte: int) -> None:
        self._state = self._error_end if byte == 0x2D else self._error

    def _error_end(self, byte: int) -> None:
        if byte == 0x3E:
            self._done = Fault(self._message)
            self._inside = False
        else:
            self._state = self._error


def _beginning(data: bytes, at: int) -> int:
    """Return the number of bytes at the end of the data, from `at` on, that may begin a command."""
    for count in range(min(len(_START) - 1, len(data) - at), 0, -1):
        if data.endswith(_START[:count]):
            return count
    return 0
