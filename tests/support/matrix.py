"""The origin and the checks of tests/e2e/test_matrix.py.

Rules:
- The origin knows each case by the number in the path, sends the bytes of that case and user, and keeps the digest of every body
  that came to its end.
- A body is complete and its case's, or it is visibly broken; and it is broken only where the case says that one side leaves.
- A cached body is requested several times: during the first response for the same variant and for another, and when all is over.
  After each complete response the same connection carries one more request.
"""

from __future__ import annotations

import hashlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.support import Recorded, Recorder, Wire, chunked, reply
from tests.support.matrix_cases import Case, Pause, content, digest
from tests.support.matrix_clients import DEADLINE, CurlClient, Http1Client, Result, Stop
from tests.support.matrix_endpoint import Endpoint
from tests.support.matrix_http2 import Http2Client

#: Bytes of the body that follows on the same connection.
SMALL = 100

Client = Http1Client | Http2Client | CurlClient


class Origin:
    """The upstream of every case."""

    def __init__(self) -> None:
        self.recorder = Recorder(self._script, read_body=False, on_connect=_small_buffers)
        self.cases: dict[str, Case] = {}
        #: Set where a body's pause is, by its case's key.
        self.reached: dict[str, threading.Event] = {}
        #: The digests of the uploads that came to their end.
        self.whole: dict[str, list[str]] = {}
        self._cut: set[str] = set()

    def add(self, case: Case) -> threading.Event:
        self.cases[case.key] = case
        self.whole[case.key] = []
        return self.reached.setdefault(case.key, threading.Event())

    def _script(self, request: Recorded, wire: Wire) -> bytes | None:
        key = request.target.rpartition("/")[2]
        user = request.get("X-User") or ""
        case = self.cases.get(key)
        if case is None:
            return reply(content(key, user, SMALL))
        if request.method == "POST":
            return self._take(case, request, wire)
        self._give(case, user, wire)
        return None

    def _give(self, case: Case, user: str, wire: Wire) -> None:
        """Send a download. Only the first one of a case is cut, so that a second try has something to find."""
        body = content(case.key, user, case.size)
        head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nVary: X-User\r\n"
        if case.framing == "chunked":
            head += "Transfer-Encoding: chunked\r\n\r\n"
            first, second = _chunks(body[: case.at]), chunked(*_split(body[case.at :]))
        else:
            head += f"Content-Length: {case.size}\r\n\r\n"
            first, second = body[: case.at], body[case.at :]
        wire.send(head.encode() + first)
        if self._pause(case, wire, once=True):
            wire.send(second)

    def _take(self, case: Case, request: Recorded, wire: Wire) -> bytes | None:
        """Read an upload and return a response with its digest."""
        seen, length = hashlib.sha256(), 0
        paused = False
        for data in _body(request, wire, case.at):
            if not paused and length >= case.at:
                paused = True
                if not self._pause(case, wire):
                    return None
            seen.update(data)
            length += len(data)
        if not paused and not self._pause(case, wire):
            return None
        self.whole[case.key].append(seen.hexdigest())
        return reply(f"{seen.hexdigest()} {length}".encode())

    def _pause(self, case: Case, wire: Wire, once: bool = False) -> bool:
        """Pause as the case says; False when the connection was ended instead."""
        pause = case.pause
        if pause.by != "origin":
            return True
        cut = pause.cut and not (once and case.key in self._cut)
        if cut:
            # Noted before the followers start, so that the first response is the one that is cut.
            self._cut.add(case.key)
        self.reached[case.key].set()
        time.sleep(pause.seconds)
        if not cut:
            return True
        if once or case.number % 2:
            # Never by a reset: it may overtake the head, and a GET without a response may be tried again.
            wire.close()
        else:
            wire.reset()
        return False


def _small_buffers(wire: Wire) -> None:
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 10)


def _split(body: bytes) -> list[bytes]:
    return [body[start : start + 30_000] for start in range(0, len(body), 30_000)]


def _chunks(body: bytes) -> bytes:
    """Chunks without the last."""
    return chunked(*_split(body)).removesuffix(b"0\r\n\r\n")


def _body(request: Recorded, wire: Wire, at: int) -> Iterator[bytes]:
    """A request's body as it comes, with an end of a block at `at`; Ended if it does not come to its end."""
    length = 0
    framed = "chunked" in (request.get("Transfer-Encoding") or "").lower()
    while True:
        left = int(wire.read_until(b"\r\n").partition(b";")[0], 16) if framed else int(request.get("Content-Length") or 0)
        end = framed and left == 0
        while left:
            data = wire.take(min(left, at - length) if length < at else left)
            left -= len(data)
            length += len(data)
            yield data
        if framed:
            wire.read_until(b"\r\n")
        if end or not framed:
            return


class Check:
    """One case, tried: `faults` are sentences."""

    def __init__(self, case: Case, endpoint: Endpoint, origin: Origin) -> None:
        self.case = case
        self.endpoint = endpoint
        self.origin = origin
        self.faults: list[str] = []
        self.target = f"/{case.store}/{case.key}"
        self.reached = origin.add(case)
        # The client's own pause, at the client; the origin's is the origin's.
        self.stop = Stop(case.at, case.pause, self.reached.set) if case.pause.by == "client" else None
        if not case.pause.by:
            self.reached.set()

    def run(self) -> Check:
        try:
            if self.case.direction == "upload":
                self._upload()
            else:
                self._download()
        except Exception as error:
            self.faults.append(f"the check itself failed: {error!r}")
        return self

    def _leader(self) -> Client:
        case = self.case
        # A fourth by curl, which cannot pause where it has to know a length first.
        if case.number % 4 == 1 and not (self.stop and case.direction == "upload" and case.framing == "length"):
            return CurlClient(self.endpoint)
        return self.endpoint.client(slow=case.pause.by == "client")

    def _upload(self) -> None:
        case = self.case
        body, wanted = content(case.key, "a", case.size), digest(case.key, "a", case.size)
        client = self._leader()
        try:
            got = client.post(self.target, "a", body, case.framing, self.stop)
            if got.complete and got.status == 200:
                said = f"{wanted} {case.size}".encode()
                if case.pause.cut:
                    self.faults.append("the upload was cut, and got a success")
                elif got.sha256 != hashlib.sha256(said).hexdigest():
                    self.faults.append("the origin got other bytes")
                else:
                    self._next(client)
            elif not case.pause.cut:
                self.faults.append(f"broken: {got}")
        finally:
            client.close()
        whole = self.origin.whole[case.key]
        if any(found != wanted for found in whole):
            self.faults.append("the origin got other bytes as a whole body")
        if case.pause.cut and whole:
            self.faults.append("the origin got a whole body from a cut upload")
        if not case.pause.cut and len(whole) != 1:
            self.faults.append(f"the origin got {len(whole)} whole bodies")

    def _download(self) -> None:
        followers = []
        if self.case.cached:
            followers = [threading.Thread(target=self._follow, args=(user,)) for user in "ab"]
        for follower in followers:
            follower.start()
        try:
            self._ask("the first", "a", self._leader(), self.stop, may_break=self.case.pause.cut)
        finally:
            self.reached.set()
            for follower in followers:
                follower.join()
        if self.case.cached:
            for user in "ab":
                self._ask("a later one", user, self.endpoint.client())

    def _follow(self, user: str) -> None:
        self.reached.wait(DEADLINE)
        # The origin cuts once: a client that depends on that response may be cut with it.
        cut = self.case.pause.cut and self.case.pause.by == "origin"
        try:
            self._ask("a follower", user, self.endpoint.client(), may_break=cut)
        except Exception as error:
            self.faults.append(f"a follower: {error!r}")

    def _ask(self, name: str, user: str, client: Client, stop: Stop | None = None, may_break: bool = False) -> None:
        case = self.case
        try:
            got = client.get(self.target, user, stop)
            if got.complete and got.status == 200:
                self._compare(name, user, got)
                self._next(client)
            elif not may_break:
                self.faults.append(f"{name} ({user}): broken: {got}")
        finally:
            client.close()
        if name == "the first" and case.pause == Pause("origin", cut=True) and got.complete and got.status == 200:
            self.faults.append("cut by the origin, and looks whole")

    def _compare(self, name: str, user: str, got: Result) -> None:
        key, size = self.case.key, self.case.size
        if got.sha256 == digest(key, user, size):
            return
        other = "ba"[user == "b"]
        if got.sha256 == digest(key, other, size):
            self.faults.append(f"{name} ({user}): the body of {other}")
        else:
            self.faults.append(f"{name} ({user}): {got.length} of {size} bytes, or others, and they look whole")

    def _next(self, client: Client) -> None:
        """Check the next exchange on the same connection."""
        key = f"next-{next(_next)}"
        got = client.get(f"/off/{key}", "n")
        if not got.complete or got.sha256 != digest(key, "n", SMALL):
            self.faults.append(f"behind it on the same connection: {got}")


_next = itertools.count()


def try_cases(cases: Sequence[Case], endpoint: Endpoint, origin: Origin, at_once: int = 40) -> list[Check]:
    """Try cases, many of them at once, and give those that have faults."""
    with ThreadPoolExecutor(at_once) as pool:
        checks = list(pool.map(lambda case: Check(case, endpoint, origin).run(), cases))
    return [check for check in checks if check.faults]
