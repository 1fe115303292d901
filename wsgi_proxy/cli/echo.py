"""`wsgi-proxy echo`: a small HTTP/1.1 server that responds with its identifier, as an upstream for demonstrations.

Rules:
- The server makes a UUID at its start and sends it as the response to `GET /`, so that identical servers can be told apart. Any
  other request gets a 404.
- Each request is one line on standard output. An exception in the handler is a 500 and a traceback on standard error.
- SIGTERM and SIGINT stop the server at once.
- Each connection has a thread. Heads are split by hand, because the standard library parses them as mail, at a higher cost than
  the whole proxy in front.
"""

from __future__ import annotations

import argparse
import signal
import socket
import socketserver
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Sequence
from http import HTTPStatus

from ..http import format_date
from .address import parse_bind

Handler = Callable[[str, str], tuple[HTTPStatus, bytes]]
"""(method, target) -> (status, body)."""

MAX_HEAD = 64 * 1024
IDLE_TIMEOUT = 75
"""Seconds that a connection may be idle. nginx keeps one to an upstream for 60 s."""


class BadRequest(Exception):
    """A message that is not an HTTP/1.x request, with the reason."""


def identity(name: str) -> Handler:
    """Return a handler that sends `name` for GET and HEAD of /, and 404 otherwise."""
    body = name.encode("ascii")

    def response(method: str, target: str) -> tuple[HTTPStatus, bytes]:
        if method in ("GET", "HEAD") and target.partition("?")[0] == "/":
            return HTTPStatus.OK, body
        return HTTPStatus.NOT_FOUND, f"Cannot {method} {target}\n".encode("latin-1")

    return response


class Connection(socketserver.StreamRequestHandler):
    """One accepted connection, which carries requests until either side closes it."""

    server: EchoServer
    timeout = IDLE_TIMEOUT
    disable_nagle_algorithm = True

    def handle(self) -> None:
        try:
            while self.one_request():
                pass
        except BadRequest as error:
            self.reply("?", "HTTP/1.1 bad request", HTTPStatus.BAD_REQUEST, f"{error}\n".encode("ascii"), keep=False)
        except (ConnectionError, TimeoutError):
            return  # the client left or was idle for too long

    def one_request(self) -> bool:
        """Serve one request. Return False if the connection must be closed."""
        start, fields = self.read_head()
        if not start:
            return False
        method, _, rest = start.partition(" ")
        target, _, version = rest.partition(" ")
        if version not in ("HTTP/1.1", "HTTP/1.0") or not target:
            raise BadRequest("not an HTTP/1.x request line")
        options = {option.strip() for option in fields.get("connection", "").lower().split(",")}
        keep = "close" not in options if version == "HTTP/1.1" else "keep-alive" in options
        self.drain_body(fields)
        try:
            status, body = self.server.response(method, target)
        except Exception:
            traceback.print_exc()
            status, body = HTTPStatus.INTERNAL_SERVER_ERROR, b"Internal Server Error\n"
        self.reply(method, start, status, body, keep)
        return keep

    def read_head(self) -> tuple[str, dict[str, str]]:
        """Return (request line, last value of each field by lower-case name). The line is "" at the end of the connection."""
        start = self.read_line(MAX_HEAD)
        if not start:
            return "", {}
        left = MAX_HEAD - len(start)
        fields: dict[str, str] = {}
        while line := self.read_line(left):
            left -= len(line) + 2
            name, colon, value = line.partition(":")
            if not colon:
                raise BadRequest("a header field without a colon")
            fields[name.lower()] = value.strip(" \t")
        return start, fields

    def read_line(self, limit: int) -> str:
        """Return one line without its end, "" for an empty line and at the end of the connection."""
        line = self.rfile.readline(max(limit, 1))
        if line and not line.endswith(b"\n"):
            if len(line) < limit:
                raise ConnectionResetError("the connection ended within a line")
            raise BadRequest("request head too large")
        return line.rstrip(b"\r\n").decode("latin-1")

    def drain_body(self, fields: dict[str, str]) -> None:
        """Read and discard the request body, so that the next request can be read."""
        if "100-continue" in fields.get("expect", "").lower():
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            if "transfer-encoding" in fields:
                while size := int(self.read_line(MAX_HEAD).partition(";")[0], 16):
                    self.skip(size + 2)
                while self.read_line(MAX_HEAD):
                    pass
            else:
                self.skip(int(fields.get("content-length", "0")))
        except ValueError:
            raise BadRequest("a body without a readable length") from None

    def skip(self, size: int) -> None:
        while size > 0:
            data = self.rfile.read(min(size, 65536))
            if not data:
                raise ConnectionResetError("the connection ended within a body")
            size -= len(data)

    def reply(self, method: str, start: str, status: HTTPStatus, body: bytes, keep: bool) -> None:
        """Send a response and log it."""
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            f"Date: {format_date(int(time.time()))}\r\n"
            "Content-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\n"
            f"{'' if keep else 'Connection: close' + chr(13) + chr(10)}\r\n"
        ).encode("ascii")
        # Logged before the response, so that a client can rely on the line.
        self.server.log(f'{self.client_address[0]} "{start}" {status.value} {len(body)}')
        self.wfile.write(head if method == "HEAD" else head + body)


class EchoServer(socketserver.ThreadingTCPServer):
    """A server that listens on `address` (host, port) once it is created, and responds by `response`."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], response: Handler) -> None:
        self.response = response
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, Connection)

    def log(self, line: str) -> None:
        """Write one line to standard output with control characters escaped."""
        # A single write, so that lines of several threads are not interleaved.
        sys.stdout.write(line.encode("unicode_escape").decode("ascii") + "\n")
        sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one server until a signal ends it, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="wsgi-proxy echo", description="Respond to GET / with a UUID made at the start: an upstream for experiments."
    )
    parser.add_argument(
        "--bind", metavar="ADDRESS:PORT", type=parse_bind, default=("127.0.0.1", 3000), help="default 127.0.0.1:3000"
    )
    host, port = parser.parse_args(argv).bind
    name = str(uuid.uuid4())
    try:
        server = EchoServer((host, port), identity(name))
    except OSError as error:
        print(
            f"wsgi-proxy echo: cannot listen on {host}:{port}: {error.strerror or error}; choose another address with --bind",
            file=sys.stderr,
        )
        return 1
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print(f"{name} listening on {host}:{server.server_address[1]}", flush=True)
        server.serve_forever()
    except KeyboardInterrupt:
        return 0
    finally:
        server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
