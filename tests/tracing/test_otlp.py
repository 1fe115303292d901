"""The exporter in a plain process: the transport for an endpoint, and a fork."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
import trustme

from tests.support import wait_until
from tests.support.collector import Collector, grpc_collector, http_collector
from wsgi_proxy.config import OtelExporter
from wsgi_proxy.tracing.context import TraceContext
from wsgi_proxy.tracing.otlp import Exporter, GrpcExporter, HttpExporter, _exporter

SPAN = ("name", TraceContext(None), 1.0, 2.0, {"a": 1}, False)


def test_an_endpoint_with_a_path_is_one_of_http() -> None:
    for endpoint, kind in (
        ("localhost:4317", GrpcExporter),
        ("http://localhost:4317", GrpcExporter),
        ("https://localhost:4317/", GrpcExporter),
        ("http://localhost:4318/v1/traces", HttpExporter),
        ("localhost:4318/v1/traces", HttpExporter),
    ):
        exporter = _exporter(OtelExporter(endpoint))
        assert type(exporter) is kind, endpoint
        exporter.shutdown()


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_a_collector_with_tls_is_verified_by_the_named_authority(kind: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    chain = b"".join(part.bytes() for part in certificate.cert_chain_pems)
    with http_collector(context) if kind == "http" else grpc_collector((certificate.private_key_pem.bytes(), chain)) as collector:
        endpoint = f"https://localhost:{collector.port}" + ("/v1/traces" if kind == "http" else "")
        for authorities, received in (("other.pem", 0), ("ca.pem", 1)):
            exporter = Exporter(OtelExporter(endpoint, interval=0.05, trusted_certificate=str(tmp_path / authorities)))
            exporter.add(*SPAN)
            exporter.close()
            assert len(collector.spans) == received, authorities


def _in_child(exporter: Exporter) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            exporter.add(*SPAN)
            exporter.close()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_a_separate_exporter() -> None:
    with http_collector() as collector:
        exporter = Exporter(OtelExporter(f"http://127.0.0.1:{collector.port}/v1/traces", interval=0.05))
        _in_child(exporter)
        assert len(collector.wait(1)) == 1
        exporter.add(*SPAN)
        assert len(collector.wait(2)) == 2
        _in_child(exporter)
        assert len(collector.wait(3)) == 3
        exporter.close()
        exporter.close()


def test_spans_are_sent_when_the_interval_is_over_or_a_batch_is_full() -> None:
    collector: Collector
    with http_collector() as collector:
        endpoint = f"http://127.0.0.1:{collector.port}/v1/traces"
        exporter = Exporter(OtelExporter(endpoint, interval=3600, batch_size=3, batch_count=2))
        for _ in range(3):
            exporter.add(*SPAN)
        wait_until(lambda: collector.batches == [3], "a full batch", 60)
        exporter.add(*SPAN)
        exporter.close()
        assert collector.batches == [3, 1]
