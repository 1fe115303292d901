"""nginx and this proxy on the same file, in front of the same upstream, and the comparison of their responses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .client import Response, parse_response, send_raw
from .ports import free_port
from .processes import Running, run_nginx, run_proxy

LEFT_OUT = frozenset("date server connection transfer-encoding x-powered-by etag last-modified expires".split())


class Both:
    """`ports` and `servers` are nginx's and ours."""

    def __init__(self, ports: tuple[int, int], servers: tuple[Running, Running]) -> None:
        self.ports = ports
        self.servers = servers

    def ask(self, data: bytes, method: str = "GET") -> tuple[Response, Response]:
        """Return nginx's response and ours."""
        found = [parse_response(send_raw(port, data, timeout=60.0), method) for port in self.ports]
        assert found[0] is not None and found[1] is not None
        return found[0], found[1]

    def same(self, data: bytes, method: str = "GET") -> Response:
        """Return our response, which must be nginx's."""
        theirs, ours = self.ask(data, method)
        assert shown(ours) == shown(theirs)
        return ours


def shown(response: Response) -> dict[str, object]:
    """Return what is compared of a response."""
    fields = sorted((name.lower(), value) for name, value in response.headers if name.lower() not in LEFT_OUT)
    # The length of a body that arrived whole is known here, where nginx sends chunks.
    fields = [pair for pair in fields if pair != ("content-length", str(len(response.body)))]
    fields = [(name, re.sub(r":\d+/", "/", value) if name == "location" else value) for name, value in fields]
    body: object = response.body
    if b"<hr>" in response.body or (response.status == 301 and not response.body):
        # A standard page names the server.
        body = response.body.partition(b"<hr>")[0]
        fields = [pair for pair in fields if pair[0] != "content-length"]
    elif response.body[:1] == b"{":
        body = json.loads(response.body)
    reason = response.reason if response.status < 500 else ""
    return {"status": response.status, "reason": reason, "complete": response.complete, "body": body, "fields": fields}


@contextmanager
def beside_nginx(text: str, folder: Path) -> Iterator[Both]:
    """Run both with a configuration in which @PORT@ stands for the port and @FOLDER@ for the folder."""
    theirs, ours = free_port(), free_port()
    text = text.replace("@FOLDER@", str(folder))
    with (
        run_nginx(text.replace("@PORT@", str(theirs)), folder) as nginx,
        run_proxy(text.replace("@PORT@", str(ours)), folder) as proxy,
    ):
        yield Both((theirs, ours), (nginx, proxy))
