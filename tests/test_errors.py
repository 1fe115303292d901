"""The status of each kind of fault."""

from __future__ import annotations

from wsgi_proxy import errors


def test_statuses_and_kinds() -> None:
    assert errors.ClientError().status == 400
    assert errors.ClientError(status=413).status == 413
    assert (errors.UpstreamTimeout().status, errors.UpstreamTimeout().kind) == (504, "timeout")
    assert errors.InvalidResponse().kind == "invalid_header"
    assert not errors.ConnectFailed().sent and errors.UpstreamClosed().sent


def test_faults_name_their_place() -> None:
    error = errors.ConfigError(errors.Fault('unknown directive "foo"', "nginx.conf", 12), errors.Fault("odd"))
    assert str(error) == 'nginx.conf:12: unknown directive "foo"\nodd'
    assert str(errors.Fault("no", "f")) == "f: no"
