"""Stand-ins for the FastCGI, uwsgi and SCGI servers of a case: they record requests and give the recorders' responses.

Rules:
- A case has one stand-in for each protocol, at a unix socket in its directory, for all groups and addresses of that protocol.
- A request is recorded with its variables as fields. SERVER_SOFTWARE names the proxy and is left out.
- The response is that of the HTTP upstreams in the form of CGI (RFC 3875, section 6): `Status`, and no framing.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.support import Recorded, parse_response
from tests.support.gateway import END, Asked, GatewayServer, stdout

#: The directive of each protocol that has a stand-in.
PROTOCOLS = {"fastcgi_pass": "fastcgi", "uwsgi_pass": "uwsgi", "scgi_pass": "scgi"}


def address(root: Path, protocol: str) -> str:
    """Return the address of a stand-in, as `server` and the directives of the gateways take it."""
    return f"unix:{root / protocol}.sock"


def as_cgi(data: bytes, method: str) -> bytes:
    """Return an HTTP response in the form of CGI."""
    response = parse_response(data, method)
    assert response is not None
    fields = [(name, value) for name, value in response.headers if name.lower() != "transfer-encoding"]
    lines = [f"Status: {response.status} {response.reason}", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + response.body


class Gateways:
    """The stand-ins of a case; a context manager. `answer` returns the HTTP response to a request."""

    def __init__(self, root: Path, journal: list[Recorded], answer: Callable[[Recorded], bytes]) -> None:
        self._journal = journal
        self._answer = answer
        self._servers = [
            GatewayServer(protocol, self._script(protocol), Path(address(root, protocol)[5:])) for protocol in PROTOCOLS.values()
        ]
        self._stack = ExitStack()

    def __enter__(self) -> Gateways:
        for server in self._servers:
            self._stack.enter_context(server)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _script(self, protocol: str) -> Callable[[Asked, socket.socket], bytes]:
        def script(asked: Asked, sock: socket.socket) -> bytes:
            params = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in asked.params]
            values = dict(params)
            request = Recorded(b"", method=values.get("REQUEST_METHOD", ""), target=values.get("REQUEST_URI", ""))
            request.headers = [pair for pair in params if pair[0] != "SERVER_SOFTWARE"]
            request.body, request.server, request.version = asked.body, protocol, "CGI"
            self._journal.append(request)
            host = Recorded(b"", method=request.method, headers=[("Host", values.get("HTTP_HOST", ""))])
            data = as_cgi(self._answer(host), request.method)
            return stdout(data) + stdout(b"") + END if protocol == "fastcgi" else data

        return script
