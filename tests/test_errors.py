"""The status of each kind of fault."""

from __future__ import annotations

from wsgi_proxy import errors


def test_statuses_and_kinds() -> None:
    assert errors.ClientError().status == 400
    assert errors.ClientError(status=413).status == 413
    assert (errors.UpstreamTimeout().status, errors.UpstreamTimeout().kind) == (504, "timeout")
    assert errors.InvalidResponse().kind == "invalid_header"
    assert not errors.ConnectFailed().sent and errors.UpstreamClosed().sent


def test_the_error_types_of_proxy_status() -> None:
    """Every type is one of RFC 9209, section 2.3."""
    assert errors.ProxyError().error_type == "proxy_internal_error"
    assert errors.ClientError().error_type == errors.Refusal(status=413).error_type == "http_request_error"
    assert {errors.Refusal(status=status).error_type for status in (401, 403, 407, 429, 503)} == {"http_request_denied"}
    assert errors.ConnectFailed().error_type == "connection_refused"
    assert errors.ConnectFailed(error_type="tls_protocol_error").error_type == "tls_protocol_error"
    assert errors.TruncatedResponse().error_type == "http_response_incomplete"
    assert errors.NoLiveUpstreams().error_type == "destination_unavailable"


def test_faults_name_their_place() -> None:
    error = errors.ConfigError(errors.Fault('unknown directive "foo"', "nginx.conf", 12), errors.Fault("odd"))
    assert str(error) == 'nginx.conf:12: unknown directive "foo"\nodd'
    assert str(errors.Fault("no", "f")) == "f: no"
