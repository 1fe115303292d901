"""The proxy's state: `stub_status` in nginx's format, and `wsgi_proxy_status page|json|metrics`.

Rules:
- The page is read-only and exists only at a location that the configuration gives it. It names upstreams, so restrict access with
  `allow` and `deny`.
- All three formats are made from one snapshot.
"""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

from ..response import Response
from . import metrics
from .openmetrics import OPENMETRICS, PROMETHEUS, exposition
from .snapshot import Sources, snapshot

if TYPE_CHECKING:
    from ..exchange import Exchange
    from .metrics import Metrics


def stub_status(counted: Metrics) -> str:
    """Return nginx's four lines (ngx_http_stub_status_module)."""
    now, totals = counted.connections(), counted.worker_totals()
    accepted = totals[metrics.ACCEPTED]
    return (
        f"Active connections: {now['active']} \nserver accepts handled requests\n"
        f" {accepted} {accepted} {totals[metrics.STARTED]} \n"
        f"Reading: {now['reading']} Writing: {now['writing']} Waiting: {now['waiting']} \n"
    )


def as_json(state: dict[str, Any]) -> str:
    """Format the snapshot as JSON."""
    return json.dumps(state, indent=2) + "\n"


def _state(peer: dict[str, Any]) -> str:
    """Return the state of a server in a few words."""
    if peer["down"]:
        return "down"
    return ("available" if peer["available"] else "not available") + (", backup" if peer["backup"] else "")


def as_page(state: dict[str, Any]) -> str:
    """Format the snapshot as an HTML page that reloads itself every two seconds."""
    rows = []
    for name, peers in state["upstreams"].items():
        for peer in peers:
            mark = "ok" if peer["available"] else "out"
            rows.append(
                f'<tr class="{mark}"><td>{escape(name)}</td><td>{escape(peer["server"])}</td><td>{peer["weight"]}</td>'
                f"<td>{peer['connections']}</td><td>{peer['fails']}</td><td>{peer['failures']}</td>"
                f"<td>{_state(peer)}</td></tr>"
            )
    responses = "".join(f"<td>{value}</td>" for value in state["responses"].values())
    heads = "".join(f"<th>{kind}</th>" for kind in state["responses"])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2">'
        "<title>wsgi_proxy</title>"
        "<style>body{font:16px sans-serif;margin:2em;color:#1b2733}table{border-collapse:collapse;margin:1em 0}"
        "td,th{padding:.35em .8em;border-bottom:1px solid #d5dce2;text-align:right}td:nth-child(-n+2),th:nth-child(-n+2)"
        "{text-align:left}.out{color:#a3271f}</style></head><body><h1>wsgi_proxy</h1>"
        f"<p>{state['requests']} requests, {state['connections']['active']} connections, {state['retries']} retries, "
        f"{state['cache_hits']} cache hits</p>"
        f"<table><tr>{heads}</tr><tr>{responses}</tr></table>"
        "<table><tr><th>upstream</th><th>server</th><th>weight</th><th>connections</th><th>fails</th><th>failures</th>"
        f"<th>state</th></tr>{''.join(rows)}</table></body></html>\n"
    )


class Status:
    """The handlers of the locations that show the state."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._metrics = sources.metrics

    def stub(self, exchange: Exchange) -> Response:
        """Return the response of `stub_status`."""
        return _response(exchange, "text/plain", stub_status(self._metrics))

    def show(self, exchange: Exchange) -> Response:
        """Return the response of `wsgi_proxy_status`."""
        kind = exchange.location.core.metrics or "page"
        state = snapshot(self._sources)
        if kind == "json":
            return _response(exchange, "application/json", as_json(state))
        if kind == "metrics":
            openmetrics = "application/openmetrics-text" in exchange.header("Accept")
            return _response(exchange, OPENMETRICS if openmetrics else PROMETHEUS, exposition(state, openmetrics))
        return _response(exchange, "text/html; charset=utf-8", as_page(state))


def _response(exchange: Exchange, kind: str, text: str) -> Response:
    if exchange.method not in ("GET", "HEAD"):
        return Response(405, [("Allow", "GET, HEAD"), ("Content-Length", "0")], length=0)
    body = text.encode()
    fields = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    return Response(200, fields, (body,), length=len(body))
