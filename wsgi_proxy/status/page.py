"""The proxy's state: `stub_status` in nginx's format, and `wsgi_proxy_status page|json|metrics`.

Rules:
- The page is one document without outside requests. It reads the JSON of its own location (`?format=json`) once a second.
- Its policy admits its own script and style by their hashes, and requests to its own origin. All values reach the page as JSON
  and become text nodes, so no value is read as HTML.
- The page has actions only with `page write` (`actions`). It names upstreams, so restrict access with `allow` and `deny`.
- All formats are made from one snapshot.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..http import Pairs
from ..keyval import api
from ..response import Response
from . import metrics
from .actions import keyvals, perform, token_of
from .openmetrics import OPENMETRICS, PROMETHEUS, exposition
from .snapshot import Sources, snapshot

if TYPE_CHECKING:
    from ..exchange import Exchange
    from .metrics import Metrics

_DOCUMENT = Path(__file__).with_name("dashboard.html")
_TOKEN = '<meta name="token" content="">'


def stub_status(counted: Metrics) -> str:
    """Return nginx's four lines (ngx_http_stub_status_module)."""
    now, totals = counted.connections(), counted.worker_totals()
    accepted = totals[metrics.ACCEPTED]
    return (
        f"Active connections: {now['active']} \nserver accepts handled requests\n"
        f" {accepted} {accepted} {totals[metrics.STARTED]} \n"
        f"Reading: {now['reading']} Writing: {now['writing']} Waiting: {now['waiting']} \n"
    )


@cache
def document() -> tuple[str, str]:
    """Return the page and its Content-Security-Policy."""
    text = _DOCUMENT.read_text(encoding="utf-8")

    def hashes(tag: str) -> str:
        inner = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S)
        return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in inner)

    policy = (
        f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text, policy


class Status:
    """The handlers of the locations that show the state."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def stub(self, exchange: Exchange) -> Response:
        """Return the response of `stub_status`."""
        return _response(exchange, "text/plain", stub_status(self._sources.metrics))

    def show(self, exchange: Exchange) -> Response:
        """Return the response of `wsgi_proxy_status`."""
        kind = exchange.location.core.metrics or "page"
        words = exchange.args.split("&")
        zone = api.zone_in(exchange.uri) if self._sources.keyvals and kind != "metrics" else None
        if zone is not None:
            status, text = keyvals(exchange, self._sources, zone, kind == "write")
            if not text:
                return Response(status, [("Cache-Control", "no-store")], length=0)
            return _made(status, "application/json", text)
        if kind == "write" and exchange.method == "POST":
            status, text = perform(exchange, self._sources)
            return _made(status, "text/plain; charset=utf-8", text + "\n")
        if kind == "json" or (kind in ("page", "write") and "format=json" in words):
            return _response(exchange, "application/json", as_json(snapshot(self._sources, "history" in words), kind == "json"))
        if kind == "metrics":
            openmetrics = "application/openmetrics-text" in exchange.header("Accept")
            text = exposition(snapshot(self._sources), openmetrics)
            return _response(exchange, OPENMETRICS if openmetrics else PROMETHEUS, text)
        text, policy = document()
        if kind == "write":
            token = token_of(self._sources.metrics.registry.memory)
            text = text.replace(_TOKEN, _TOKEN.replace('""', f'"{token}"'))
        fields = [("Content-Security-Policy", policy), ("Referrer-Policy", "no-referrer")]
        return _response(exchange, "text/html; charset=utf-8", text, fields)


def as_json(state: dict[str, Any], indented: bool) -> str:
    """Format the snapshot as JSON."""
    return json.dumps(state, indent=2 if indented else None) + "\n"


def _response(exchange: Exchange, kind: str, text: str, more: Pairs | None = None) -> Response:
    if exchange.method not in ("GET", "HEAD"):
        return Response(405, [("Allow", "GET, HEAD"), ("Content-Length", "0")], length=0)
    return _made(200, kind, text, more)


def _made(status: int, kind: str, text: str, more: Pairs | None = None) -> Response:
    body = text.encode()
    fields = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    fields += [("X-Content-Type-Options", "nosniff"), *(more or [])]
    return Response(status, fields, (body,), length=len(body))
