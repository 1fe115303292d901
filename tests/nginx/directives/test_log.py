"""`access_log` and `log_format`; their faults are in nginx_faults.py."""

from __future__ import annotations

from tests.support.directive import faults, http, location, said


def test_logs() -> None:
    logs = location(
        "access_log a; access_log /dev/stdout mine if=$arg_log; access_log /b combined buffer=4k flush=1m; access_log $host.log;",
        "log_format mine escape=json '{\"a\":' '\"$uri\"}';",
    ).core.access_log
    assert [log.format.name for log in logs] == ["combined", "mine", "combined", "combined"]
    assert [said(log.path) for log in logs[:3]] == ["/srv/x/a", "/dev/stdout", "/b"]
    assert [log.condition is not None for log in logs] == [False, True, False, False]
    assert getattr(logs[3].path, "constant", "") is None


def test_what_is_not_supported_is_told() -> None:
    assert faults("access_log syslog:server=x;") == ['"syslog:" in "access_log" is not supported by wsgi_proxy']
    assert faults("access_log x combined gzip;") == ['the "gzip" parameter of "access_log" is not supported by wsgi_proxy']
    assert faults("access_log x combined buffer=x;") == ['invalid parameter "buffer=x"']


def test_an_unknown_variable_in_a_format() -> None:
    assert faults("log_format mine $nothing;") == ['unknown "nothing" variable']
    assert http("log_format mine $host;").servers == ()
