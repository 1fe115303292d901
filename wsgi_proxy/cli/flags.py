"""The words of the command line: nginx's flags, and those that the sub-commands share with them."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

NAME = "wsgi-proxy"
USAGE = f"""\
Usage: {NAME} [-?hvVtTq] [-s signal] [-p prefix]
                  [-e filename] [-c filename] [-g directives]
       {NAME} demo | echo | explain | cache | cert | forward  [-h]

Options:
  -?,-h         : this help
  -v            : show version and exit
  -V            : show version and the libraries' versions then exit
  -t            : test configuration and exit
  -T            : test configuration, dump it and exit
  -q            : suppress non-error messages during configuration testing
  -s signal     : send signal to a master process: stop, quit, reopen, reload
  -p prefix     : set prefix path (default: the folder of the configuration file)
  -e filename   : set error log file (default: logs/error.log where that folder is, else stderr)
  -c filename   : set configuration file (default: nginx.conf)
  -g directives : set global directives out of configuration file

Commands:
  demo          : six echo servers and the proxy before them, on http://127.0.0.1:8080
  echo          : one echo server
  explain       : why a request would be answered as it is
  cache         : what the cache holds, and purging it
  cert          : a certificate for development
  forward       : a forward proxy in one line
"""
SIGNALS = {"stop": signal.SIGTERM, "quit": signal.SIGQUIT, "reload": signal.SIGHUP, "reopen": signal.SIGUSR1}
_WITH_ARGUMENT = {
    "c": "requires file name",
    "p": "requires directory name",
    "e": "requires file name",
    "g": "requires parameter",
    "s": "requires parameter",
}


class UsageError(Exception):
    """The command line is wrong; the text is nginx's."""


@dataclass
class Options:
    """What the flags say."""

    configuration: str = ""
    prefix: str = ""
    error_log: str = ""
    directives: str = ""
    signal: str = ""
    help: bool = False
    version: bool = False
    libraries: bool = False
    test: bool = False
    dump: bool = False
    quiet: bool = False

    @property
    def path(self) -> str:
        """The configuration file's absolute name."""
        return os.path.abspath(os.path.join(self.prefix, self.configuration or "nginx.conf"))


_FLAGS = {"?": "help", "h": "help", "v": "version", "V": "libraries", "t": "test", "T": "dump", "q": "quiet"}
_VALUES = {"c": "configuration", "p": "prefix", "e": "error_log", "g": "directives", "s": "signal"}


def parse_flags(argv: Sequence[str]) -> Options:
    """nginx's flags: letters may be joined, a value may follow its letter at once. UsageError in nginx's words."""
    options = Options()
    left = list(argv)
    while left:
        word = left.pop(0)
        if not word.startswith("-") or word == "-":
            raise UsageError(f'invalid option: "{word}"')
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in _FLAGS:
                setattr(options, _FLAGS[letter], True)
            elif letter in _VALUES:
                if not letters and not left:
                    raise UsageError(f'option "-{letter}" {_WITH_ARGUMENT[letter]}')
                setattr(options, _VALUES[letter], letters or left.pop(0))
                letters = ""
            else:
                raise UsageError(f'invalid option: "{letter}"')
    if options.signal and options.signal not in SIGNALS:
        raise UsageError(f'invalid option: "-s {options.signal}"')
    return options


def take_configuration(argv: list[str]) -> tuple[Options, list[str]]:
    """-c, -p and -g out of a sub-command's words, and the other words."""
    options, rest = Options(), []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word in ("-c", "-p", "-g"):
            if not words:
                raise UsageError(f'option "{word}" {_WITH_ARGUMENT[word[1]]}')
            setattr(options, _VALUES[word[1]], words.pop(0))
        else:
            rest.append(word)
    return options, rest


def take_request(words: list[str]) -> tuple[str, str, list[tuple[str, str]]]:
    """`[METHOD] URL [-H 'Name: value']…` in any order."""
    headers, plain = [], []
    left = list(words)
    while left:
        word = left.pop(0)
        if word != "-H":
            plain.append(word)
            continue
        name, colon, text = (left.pop(0) if left else "").partition(":")
        if not colon:
            raise UsageError('option "-H" requires "Name: value"')
        headers.append((name.strip(), text.strip()))
    if not 1 <= len(plain) <= 2 or plain[0].startswith("-"):
        raise UsageError(f'invalid option: "{" ".join(plain)}"')
    return (plain[0] if len(plain) == 2 else "GET"), plain[-1], headers
