"""One configuration in real nginx and in the wsgi-proxy command, and one request to both: heads and bodies compared.

Rules:
- `shown` keeps the status line, every field but Date, Server and the connection's own, and the body. The product's name in a
  standard page is replaced, and the page's length is left out with it, also where a HEAD names the length only.
- A configuration names its port `PORT`; it is written twice, with a free port for each of the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .client import Response, parse_response, request_bytes, send_raw
from .ports import free_port
from .processes import run_nginx, run_proxy

Pairs = Sequence[tuple[str, str]]
_PRODUCT = re.compile(rb"<hr><center>[^<]*</center>")
_LEFT_OUT = frozenset({"date", "server", "connection", "keep-alive", "transfer-encoding"})


class Beside:
    """nginx at the port `theirs` and this proxy at the port `ours`, with the same configuration."""

    def __init__(self, theirs: int, ours: int) -> None:
        self.theirs = theirs
        self.ours = ours
        self.up = 0
        """The port of the upstream, for the tests that need it."""

    def send(self, data: bytes, method: str = "GET") -> tuple[Response, Response]:
        """Return nginx's response to these bytes, and this proxy's."""
        return answer(self.theirs, data, method), answer(self.ours, data, method)

    def ask(self, target: str, method: str = "GET", fields: Pairs = (), body: bytes = b"") -> tuple[Response, Response]:
        """Return nginx's response to a request that closes its connection, and this proxy's."""
        return self.send(request_bytes(target, method, list(fields), body, close=True), method)

    def compare(self, target: str, method: str = "GET", fields: Pairs = (), body: bytes = b"") -> Response:
        """Assert that both respond alike, and return this proxy's response."""
        theirs, ours = self.ask(target, method, fields, body)
        assert self.shown(ours) == self.shown(theirs), (
            f"{method} {target} {fields}: ours {self.shown(ours)}, theirs {self.shown(theirs)}"
        )
        return ours

    def shown(self, response: Response) -> dict[str, object]:
        """Return the parts of a response that are compared."""
        body = _PRODUCT.sub(b"<hr><center>product</center>", response.body)
        fields = []
        for name, value in response.headers:
            lower = name.lower()
            if lower in _LEFT_OUT or (
                lower == "content-length" and (body != response.body or not response.body and int(value) > 100)
            ):
                continue
            for port in (self.theirs, self.ours):
                value = value.replace(f":{port}", ":PORT")
            fields.append((lower, value))
        return {
            "status": f"{response.status} {response.reason}",
            "fields": sorted(fields),
            "body": body,
            "complete": response.complete,
            "trailers": response.trailers,
        }


def answer(port: int, data: bytes, method: str = "GET") -> Response:
    """Return the response to these bytes on a new connection."""
    found = parse_response(send_raw(port, data, timeout=30.0), method)
    assert found is not None, f"no response to {data[:200]!r}"
    return found


@contextmanager
def run_beside(conf: str, folder: Path) -> Iterator[Beside]:
    """Run nginx and this proxy with `conf`, which names its port PORT and may name `FOLDER`, until the end of the block."""
    theirs, ours = free_port(), free_port()
    text = conf.replace("FOLDER", str(folder))
    with (
        run_nginx(text.replace("PORT", str(theirs)), folder),
        run_proxy(text.replace("PORT", str(ours)), folder),
    ):
        yield Beside(theirs, ours)
