"""The HTTP/2 client of tests/e2e/test_matrix.py, on the h2 package; it can stop within a body, as matrix_clients says."""

from __future__ import annotations

import hashlib
import socket

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from tests.support.matrix_clients import ClientLeft, Result, Stop


class _Stream:
    """One request of an HTTP/2 connection and its response."""

    def __init__(self, body: bytes | None, stop: Stop | None) -> None:
        self.left = body
        self.stop = stop
        self.sent = 0
        self.status = 0
        self.seen = hashlib.sha256()
        self.length = 0
        self.error = "no end"
        self.open = True

    def got(self) -> Result:
        return Result(self.status, self.seen.hexdigest(), self.length, not self.error, self.error)

    def end(self, error: str) -> None:
        self.open, self.error = False, error


class Http2Client:
    """The h2 package on a connection that is already there; several requests at once with `together`."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
        self.h2.initiate_connection()

    def close(self) -> None:
        self.sock.close()

    def get(self, target: str, user: str, stop: Stop | None = None) -> Result:
        return self.together([(target, user, None, "length", stop)])[0]

    def post(self, target: str, user: str, body: bytes, framing: str, stop: Stop | None = None) -> Result:
        return self.together([(target, user, body, framing, stop)])[0]

    def together(self, requests: list[tuple[str, str, bytes | None, str, Stop | None]]) -> list[Result]:
        """Return the responses to requests that are all under way at once: (target, user, body or None, framing, stop)."""
        streams: dict[int, _Stream] = {}
        for target, user, body, framing, stop in requests:
            fields = [(":method", "GET" if body is None else "POST"), (":scheme", "https"), (":authority", "localhost")]
            fields += [(":path", target), ("x-user", user)]
            if body is not None and framing == "length":
                fields.append(("content-length", str(len(body))))
            number = self.h2.get_next_available_stream_id()
            self.h2.send_headers(number, fields, end_stream=body is None)
            streams[number] = _Stream(body, stop)
        try:
            self._converse(streams)
        except (OSError, h2.exceptions.ProtocolError, ClientLeft) as broken:
            for stream in streams.values():
                if stream.open:
                    stream.end(repr(broken))
            self.close()
        return [stream.got() for stream in streams.values()]

    def _converse(self, streams: dict[int, _Stream]) -> None:
        while any(stream.open for stream in streams.values()):
            for number, stream in streams.items():
                while stream.open and stream.left is not None and self._send(number, stream):
                    self.sock.sendall(self.h2.data_to_send())
                if stream.open and stream.left is None and stream.stop and stream.status and stream.length >= stream.stop.at:
                    self._stop(stream)
            self.sock.sendall(self.h2.data_to_send())
            if not any(stream.open for stream in streams.values()):
                return
            data = self.sock.recv(16384)
            if not data:
                raise ConnectionError("the connection ended")
            for event in self.h2.receive_data(data):
                self._event(event, streams)

    def _stop(self, stream: _Stream) -> None:
        """Pause, where the stream's stop is."""
        self.sock.sendall(self.h2.data_to_send())
        stop, stream.stop = stream.stop, None
        if stop:
            stop()

    def _send(self, number: int, stream: _Stream) -> bool:
        """Send as much of a body as the windows allow; False where they are closed."""
        body = stream.left or b""
        if stream.stop and stream.sent == stream.stop.at:
            self._stop(stream)
        room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
        end = len(body)
        if stream.stop:
            end = stream.stop.at
        size = min(room, end - stream.sent)
        if size <= 0 and stream.sent < len(body):
            return False
        last = stream.sent + size == len(body)
        self.h2.send_data(number, body[stream.sent : stream.sent + size], end_stream=last and not stream.stop)
        stream.sent += size
        if last and not stream.stop:
            stream.left = None
        return True

    def _event(self, event: h2.events.Event, streams: dict[int, _Stream]) -> None:
        stream = streams.get(getattr(event, "stream_id", None) or 0)
        if isinstance(event, h2.events.ConnectionTerminated):
            raise ConnectionError(f"GOAWAY {event.error_code}")
        if stream is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            stream.status = int(dict(event.headers or [])[b":status"])
        elif isinstance(event, h2.events.DataReceived):
            stream.seen.update(event.data or b"")
            stream.length += len(event.data or b"")
            if stream.open:
                self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
        elif isinstance(event, h2.events.StreamEnded):
            stream.end("")
        elif isinstance(event, h2.events.StreamReset):
            stream.end(f"the stream was reset: {event.error_code}")
