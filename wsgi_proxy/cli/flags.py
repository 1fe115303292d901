"""The command line: nginx's flags, and the flags that sub-commands share with them."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

NAME = "wsgi-proxy"
USAGE = f"""\
Usage: {NAME} [-?hvVtTq] [-s signal] [-p prefix]
                  [-e filename] [-c filename] [-g directives]
       {NAME} COMMAND [-h]

Without a command the server is started with the configuration file, ./nginx.conf by default.

Options:
  -?,-h,--help  : this help
  -v,--version  : show version and exit
  -V            : show versions, the modules of nginx and the libraries then exit
  -t            : test configuration and exit
  -T            : test configuration, dump it and exit
  -q            : suppress non-error messages during configuration testing
  -s signal     : send signal to a master process: stop, quit, reopen, reload
  -p prefix     : set prefix path (default: the directory of the configuration file)
  -e filename   : set error log file (default: logs/error.log, with daemon off stderr)
  -c filename   : set configuration file (default: nginx.conf)
  -g directives : set global directives out of configuration file

Commands:
  demo          : run six echo servers behind the proxy on http://127.0.0.1:8080
  echo          : run one echo server
  explain       : send a request and print each decision about it
  status        : print the figures of the running proxy
  top           : watch the running proxy
  cache         : list, show, purge and count cached responses
  cert          : make a certificate for development
  forward       : run a forward proxy
  help COMMAND  : show the options of a command
"""
COMMANDS = ("cache", "cert", "demo", "echo", "explain", "forward", "status", "top")
SIGNALS = {"stop": signal.SIGTERM, "quit": signal.SIGQUIT, "reload": signal.SIGHUP, "reopen": signal.SIGUSR1}
_WITH_ARGUMENT = {
    "c": "requires file name",
    "p": "requires directory name",
    "e": "requires file name",
    "g": "requires parameter",
    "s": "requires parameter",
}


class UsageError(Exception):
    """An error in the command line, with nginx's text."""


@dataclass
class Options:
    """The values of the flags."""

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
        """The absolute path of the configuration file."""
        return os.path.abspath(os.path.join(self.prefix, self.configuration or "nginx.conf"))


_FLAGS = {"?": "help", "h": "help", "v": "version", "V": "libraries", "t": "test", "T": "dump", "q": "quiet"}
_VALUES = {"c": "configuration", "p": "prefix", "e": "error_log", "g": "directives", "s": "signal"}


def parse_flags(argv: Sequence[str]) -> Options:
    """Parse nginx's flags. Letters may be joined, and a value may follow its letter directly. Raises UsageError."""
    options = Options()
    left = list(argv)
    while left:
        word = left.pop(0)
        if not word.startswith("-") or word == "-":
            raise UsageError(_unknown_word(word))
        if word.startswith("--"):
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


def _unknown_word(word: str) -> str:
    """Return the message for a word that is neither a flag nor a command."""
    if os.path.isfile(word):
        return f'invalid option: "{word}"; to run this configuration: {NAME} -c {word}'
    near = get_close_matches(word, COMMANDS, 1)
    cure = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(COMMANDS)}"
    return f'unknown command "{word}"; {cure}'


def take_configuration(argv: list[str]) -> tuple[Options, list[str]]:
    """Return the values of -c, -p and -g, and all other words. Raises UsageError."""
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


def take_explain(words: list[str]) -> tuple[bool, bool, bytes, list[str]]:
    """Return `--json`, `--count`, the value of `-d`, and all other words. Raises UsageError."""
    rest = [word for word in words if word not in ("--json", "--count")]
    body = ""
    if "-d" in rest:
        at = rest.index("-d")
        if at + 1 == len(rest):
            raise UsageError('option "-d" requires a body')
        body = rest[at + 1]
        del rest[at : at + 2]
    return "--json" in words, "--count" in words, body.encode("utf-8", "surrogateescape"), rest


def take_request(words: list[str], default: str = "GET") -> tuple[str, str, list[tuple[str, str]]]:
    """Return (method, URL, headers) of `[METHOD] URL [-H 'Name: value']…` in any order. Raises UsageError.

    `default` is the method if none is given.
    """
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
    return (plain[0] if len(plain) == 2 else default), plain[-1], headers
