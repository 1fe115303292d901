"""Clients of tests/e2e/test_matrix.py: http.client and curl; h2 is in matrix_http2. Each can pause or leave within a body.

Rules:
- Every client has `get` and `post`, which never raise for a fault of the proxy: a `Result` has the bytes received, and whether
  the framing says that they are all.
- The framing is judged by the library. http.client accepts a body that is shorter than its Content-Length, so the number of bytes
  that it still expects is read here.
"""

from __future__ import annotations

import hashlib
import http.client
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from tests.support.matrix_cases import Pause

if TYPE_CHECKING:
    from tests.support.matrix_endpoint import Endpoint

#: Seconds after which a client gives up: no measure of speed, only the end of a test that hangs.
DEADLINE = 100.0
PIECE = 50_000


class Result(NamedTuple):
    """A response as far as it came: status (0: none), SHA-256 and length of the body, whether it is complete, else the reason."""

    status: int
    sha256: str
    length: int
    complete: bool
    error: str = ""


class ClientLeft(Exception):
    """Raised where the client leaves, as its case says."""


class Stop:
    """The point in a body at which a client pauses or leaves. `reached` is called there."""

    def __init__(self, at: int, pause: Pause, reached: Callable[[], object]) -> None:
        self.at = at
        self.pause = pause
        self.reached = reached

    def __call__(self) -> None:
        self.reached()
        if self.pause.cut:
            raise ClientLeft
        time.sleep(self.pause.seconds)


def pieces(body: bytes, stop: Stop | None) -> Iterator[bytes]:
    """Yield `body` in pieces, with the stop before its byte."""
    at = stop.at if stop else 0
    for start in range(0, at, PIECE):
        yield body[start : min(at, start + PIECE)]
    if stop:
        stop()
    for start in range(at, len(body), PIECE):
        yield body[start : start + PIECE]


class Http1Client:
    """http.client on a connection that is already there; it makes no other."""

    def __init__(self, sock: socket.socket) -> None:
        self.connection = http.client.HTTPConnection("localhost")
        self.connection.sock = sock
        self.connection.auto_open = 0

    def close(self) -> None:
        self.connection.close()

    def get(self, target: str, user: str, stop: Stop | None = None) -> Result:
        return self._ask("GET", target, {"X-User": user}, None, stop)

    def post(self, target: str, user: str, body: bytes, framing: str, stop: Stop | None = None) -> Result:
        fields = {"X-User": user}
        if framing == "chunked":
            fields["Transfer-Encoding"] = "chunked"
        else:
            fields["Content-Length"] = str(len(body))
        return self._ask("POST", target, fields, pieces(body, stop), None)

    def _ask(self, method: str, target: str, fields: dict[str, str], body: Iterator[bytes] | None, stop: Stop | None) -> Result:
        status, seen, length = 0, hashlib.sha256(), 0
        try:
            self.connection.request(method, target, body, fields, encode_chunked=True)
            response = self.connection.getresponse()
            status = response.status
            while True:
                if stop and length >= stop.at:
                    stop()
                    stop = None
                data = response.read(min(PIECE, stop.at - length) if stop else PIECE)
                seen.update(data)
                length += len(data)
                if not data:
                    break
            error = f"{response.length} bytes are missing" if response.length else ""
            if response.length is None and not response.chunked:
                error = "an end without framing"
        except (OSError, http.client.HTTPException, ClientLeft) as broken:
            error = repr(broken)
        if error:
            self.close()
        return Result(status, seen.hexdigest(), length, not error, error)


class CurlClient:
    """curl, one process for each request. It pauses where its standard input or output does."""

    def __init__(self, endpoint: Endpoint) -> None:
        tls = endpoint.protocol in ("tls", "http2")
        self.base = f"{'https' if tls else 'http'}://localhost:{endpoint.port}"
        self.command = ["curl", "-sS", "-N", "-m", str(int(DEADLINE)), "--cacert", endpoint.ca]
        self.command += ["--resolve", f"localhost:{endpoint.port}:127.0.0.1", "-w", "%{stderr}status %{http_code}"]
        self.command += ["--http2" if endpoint.protocol == "http2" else "--http1.1"]
        if endpoint.protocol == "proxy":
            self.command += ["--haproxy-protocol"]

    def close(self) -> None:
        """Nothing is kept."""

    def get(self, target: str, user: str, stop: Stop | None = None) -> Result:
        return self._run([], target, user, None, stop)

    def post(self, target: str, user: str, body: bytes, framing: str, stop: Stop | None = None) -> Result:
        if framing == "chunked":
            return self._run(["-X", "POST", "-T", "-"], target, user, pieces(body, stop), None)
        # curl reads all of it before it begins, so that it knows the length.
        assert stop is None
        return self._run(["--data-binary", "@-"], target, user, pieces(body, None), None)

    def _run(self, options: list[str], target: str, user: str, body: Iterator[bytes] | None, stop: Stop | None) -> Result:
        seen, length, error = hashlib.sha256(), 0, ""
        command = [*self.command, *options, "-H", f"X-User: {user}", self.base + target]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0) as process:
            assert process.stdin and process.stdout and process.stderr
            # It ends as soon as it is responseed, whether or not all was sent.
            sender = threading.Thread(target=_feed, args=(process, body))
            sender.start()
            try:
                while True:
                    if stop and length >= stop.at:
                        stop()
                        stop = None
                    data = process.stdout.read(min(PIECE, stop.at - length) if stop else PIECE)
                    seen.update(data)
                    length += len(data)
                    if not data:
                        break
            except ClientLeft:
                # It may have had all of it already.
                process.kill()
                error = "left"
            said = process.stderr.read().decode()
            code = process.wait()
            sender.join()
        if code:
            error = f"curl ended with {code}: {said}"
        return Result(int(said.rpartition("status ")[2] or 0) if not error else 0, seen.hexdigest(), length, not error, error)


def _feed(process: subprocess.Popen[bytes], body: Iterator[bytes] | None) -> None:
    assert process.stdin
    try:
        for piece in body or ():
            process.stdin.write(piece)
    except BrokenPipeError:
        pass  # curl had its response, or its fault: its exit code says
    except ClientLeft:
        process.kill()
    finally:
        process.stdin.close()
