"""The W3C trace context: its field, its variables, and the fields that upstreams get."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Recorder, fetch, free_port, run_proxy
from tests.support.directive import faults
from wsgi_proxy.tracing.context import parent_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"
NEW = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-00")


@pytest.mark.parametrize(
    ("field", "parent"),
    [
        (GOOD, (TRACE, SPAN, "01")),
        (f" 00-{TRACE}-{SPAN}-00\t", (TRACE, SPAN, "00")),
        (f"00-{TRACE}-{SPAN}-ff", (TRACE, SPAN, "01")),
        (f"01-{TRACE}-{SPAN}-01-what-the-future-may-be-like", (TRACE, SPAN, "01")),
        (f"00-{TRACE}-{SPAN}-01-x", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"{GOOD}, {GOOD}", None),
        (f"01-{TRACE}-{SPAN}-01.x", None),
        ("", None),
    ],
)
def test_a_field_is_read_as_the_recommendation_says(field: str, parent: tuple[str, str, str] | None) -> None:
    assert parent_of(field) == parent


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Recorder]]:
    folder: Path = tmp_path_factory.mktemp("traces")
    port = free_port()
    ids = "'$otel_trace_id $otel_span_id $otel_parent_id $otel_parent_sampled'"
    with Recorder() as upstream:
        places = "".join(
            f"location /{mode}/ {{ otel_trace_context {mode}; proxy_pass http://{upstream.address};\n"
            f"  location /{mode}/more {{ proxy_set_header A b; proxy_pass http://{upstream.address}; }}\n"
            f"  location /{mode}/ids {{ return 200 {ids}; }}\n"
            f"  location /{mode}/not {{ otel_trace_context ignore; proxy_pass http://{upstream.address}; }}\n"
            f"  location /{mode}/own {{ proxy_set_header Traceparent mine; proxy_pass http://{upstream.address}; }} }}\n"
            for mode in ("extract", "inject", "propagate")
        )
        text = f"""events {{}} http {{ access_log off; server {{ listen 127.0.0.1:{port}; {places}
            location / {{ proxy_pass http://{upstream.address}; }} location /ids {{ return 200 {ids}; }} }} }}"""
        with run_proxy(text, folder):
            yield port, upstream


def sent(place: tuple[int, Recorder], target: str, field: str = GOOD) -> tuple[str | None, str | None]:
    """Return the `traceparent` and `tracestate` that the upstream got."""
    port, upstream = place
    assert fetch(port, target, headers=[("traceparent", field), ("tracestate", "a=b")]).status == 200
    request = upstream.requests[-1]
    assert sum(name.lower() == "traceparent" for name, _ in request.headers) <= 1
    return request.get("traceparent"), request.get("tracestate")


def test_without_the_directive_the_fields_pass(place: tuple[int, Recorder]) -> None:
    assert sent(place, "/") == (GOOD, "a=b")
    # As in nginx the variables begin a trace, which no upstream gets.
    assert re.fullmatch("[0-9a-f]{32} [0-9a-f]{16}  0", fetch(place[0], "/ids", headers=[("traceparent", GOOD)]).text)


@pytest.mark.parametrize("where", ["", "more"])
def test_propagate_sends_a_new_span_of_the_clients_trace(where: str, place: tuple[int, Recorder]) -> None:
    field, state = sent(place, f"/propagate/{where}")
    assert field is not None and re.fullmatch(f"00-{TRACE}-(?!{SPAN})[0-9a-f]{{16}}-01", field) and state == "a=b"
    field, state = sent(place, f"/propagate/{where}", "nonsense")
    assert field is not None and NEW.fullmatch(field) and state is None


@pytest.mark.parametrize("where", ["", "more"])
def test_inject_begins_a_trace(where: str, place: tuple[int, Recorder]) -> None:
    field, state = sent(place, f"/inject/{where}")
    assert field is not None and NEW.fullmatch(field) and TRACE not in field and state is None


def test_extract_sends_the_clients_field(place: tuple[int, Recorder]) -> None:
    assert sent(place, "/extract/") == (GOOD, "a=b")


@pytest.mark.parametrize("mode", ["extract", "inject", "propagate"])
def test_an_inner_location_may_ignore_it_or_set_the_field(mode: str, place: tuple[int, Recorder]) -> None:
    assert sent(place, f"/{mode}/not") == (GOOD, "a=b")
    assert sent(place, f"/{mode}/own")[0] == "mine"


def test_the_variables(place: tuple[int, Recorder]) -> None:
    port, _ = place
    for mode in ("extract", "propagate"):
        text = fetch(port, f"/{mode}/ids", headers=[("traceparent", GOOD)]).text
        assert re.fullmatch(f"{TRACE} (?!{SPAN})[0-9a-f]{{16}} {SPAN} 1", text), text
    text = fetch(port, "/inject/ids", headers=[("traceparent", GOOD)]).text
    assert re.fullmatch("[0-9a-f]{32} [0-9a-f]{16}  0", text) and TRACE not in text


def test_a_mode_that_is_none() -> None:
    assert faults("otel_trace_context all; server { }") == ['invalid value "all"']
    assert faults("otel_trace on; server { }") == ['"otel_exporter" block is missing']
