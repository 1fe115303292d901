"""`http2_*` as a client sees them in frames, in real nginx and here; and prior knowledge on a plain listener."""

from __future__ import annotations

import struct
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support import Running, free_port, run_nginx, run_proxy
from tests.support.frames import DATA, RST_STREAM, SETTINGS, FrameClient, fields, frame

STREAMS, WINDOW = 3, 4
"""The names of SETTINGS_MAX_CONCURRENT_STREAMS and SETTINGS_INITIAL_WINDOW_SIZE."""
CONFIGURATION = """
events {{}}
http {{
    access_log off;
    http2_max_concurrent_streams 7;
    server {{
        listen 127.0.0.1:{port};
        http2 on;
        http2_body_preread_size 80k;
        http2_chunk_size 2k;
        root {root};
        location /small/ {{ http2_chunk_size 1000; alias {root}/; }}
        location = /version {{ return 200 "$server_protocol $http2"; }}
    }}
}}
"""


def started(kind: str, tmp_path: Path) -> AbstractContextManager[Running]:
    (tmp_path / "file.txt").write_bytes(b"x" * 10_000)
    text = CONFIGURATION.format(port=free_port(), root=tmp_path)
    return run_nginx(text, tmp_path) if kind == "nginx" else run_proxy(text, tmp_path)


@pytest.mark.parametrize("kind", ["ours", "nginx"])
def test_settings_and_frames(kind: str, tmp_path: Path) -> None:
    with started(kind, tmp_path) as server, FrameClient(server.port) as client:
        first = client.until(lambda found: found.kind == SETTINGS)
        assert first is not None
        said = dict(struct.iter_unpack(">HI", first.payload))
        assert (said[STREAMS], said[WINDOW]) == (7, 80 * 1024)
        client.send(frame(SETTINGS, 1))
        client.request(1, fields(path="/version"))
        assert client.outcome(1) == ("response", 200) and client.bodies[1] == b"HTTP/2.0 h2c"
        for stream, path, size in ((3, "/file.txt", 2048), (5, "/small/file.txt", 1000)):
            client.request(stream, fields(path=path))
            assert client.outcome(stream) == ("response", 200)
            assert len(client.bodies[stream]) == 10_000
            sizes = [len(found.payload) for found in client.seen if found.kind == DATA and found.stream == stream]
            assert max(sizes) == size


@pytest.mark.parametrize("kind", ["ours", "nginx"])
def test_streams_above_the_limit_are_refused(kind: str, tmp_path: Path) -> None:
    with started(kind, tmp_path) as server, FrameClient(server.port) as client:
        assert client.until(lambda found: found.kind == SETTINGS) is not None
        client.send(frame(SETTINGS, 1))
        # Requests whose windows are closed stay open: the client takes no DATA at all.
        client.send(frame(SETTINGS, 0, 0, struct.pack(">HI", WINDOW, 0)))
        for stream in range(1, 17, 2):
            client.request(stream, fields(path="/file.txt"))
        refused = client.until(lambda found: found.kind == RST_STREAM)
        assert refused is not None and (refused.stream, refused.code) == (15, 7)
