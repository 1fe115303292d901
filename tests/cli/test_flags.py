"""The options of the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import ROOT
from wsgi_proxy.cli import command as cli
from wsgi_proxy.cli.flags import Options, UsageError, parse_flags, take_configuration, take_request


def test_letters_may_be_joined_and_values_follow_at_once() -> None:
    options = parse_flags(["-tq", "-cfile", "-p", "/x", "-g", "daemon off;", "-e/log"])
    assert options == Options("file", "/x", "/log", "daemon off;", test=True, quiet=True)
    assert parse_flags(["-s", "reload"]).signal == "reload"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-x"], 'invalid option: "x"'),
        (["foo"], 'unknown command "foo"; the commands are cache, cert, demo, echo, explain, forward, status, top'),
        (["explian"], 'unknown command "explian"; did you mean explain?'),
        (["README.md"], 'invalid option: "README.md"; to run this configuration: wsgi-proxy -c README.md'),
        (["--foo"], 'invalid option: "--foo"'),
        (["-c"], 'option "-c" requires file name'),
        (["-p"], 'option "-p" requires directory name'),
        (["-s"], 'option "-s" requires parameter'),
        (["-s", "foo"], 'invalid option: "-s foo"'),
    ],
)
def test_a_wrong_command_line_is_told_in_nginxs_words(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(UsageError, match=re.escape(message)):
        parse_flags(argv)
    assert cli.main(argv) == 1
    assert capsys.readouterr().err == f"wsgi-proxy: {message}\nSee wsgi-proxy --help.\n"


def test_where_the_configuration_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_flags([]).path == str(tmp_path / "nginx.conf")
    assert parse_flags(["-c", "a"]).path == str(tmp_path / "a")
    assert parse_flags(["-p", "/p", "-c", "a"]).path == "/p/a"
    assert parse_flags(["-p", "/p", "-c", "/a"]).path == "/a"


def test_a_sub_command_takes_the_configurations_flags_anywhere() -> None:
    options, rest = take_configuration(["ls", "-c", "a", "x", "-p", "/p", "-g", "daemon off;", "-H"])
    assert (options.path, options.directives, rest) == ("/p/a", "daemon off;", ["ls", "x", "-H"])


def test_a_request_in_any_order() -> None:
    assert take_request(["/a"]) == ("GET", "/a", [])
    assert take_request(["-H", "A: b:c", "PUT", "-H", "D:", "/a"]) == ("PUT", "/a", [("A", "b:c"), ("D", "")])
    for wrong in ([], ["a", "b", "c"], ["/a", "-H"], ["/a", "-H", "x"], ["-x"]):
        with pytest.raises(UsageError):
            take_request(wrong)
