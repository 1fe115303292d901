"""Writing frames, and the checks that need no connection."""

from __future__ import annotations

import pytest
from hyperframe.frame import ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame

from wsgi_proxy.worker.http2 import frames


def parsed(data: bytes) -> list[Frame]:
    found = []
    while data:
        made, length = Frame.parse_frame_header(memoryview(data[:9]))
        made.parse_body(memoryview(data[9 : 9 + length]))
        found.append(made)
        data = data[9 + length :]
    return found


def test_another_library_reads_them() -> None:
    data, reset, away, settings = parsed(
        frames.frame(frames.DATA, frames.END_STREAM, 5, b"x")
        + frames.number_frame(frames.RST_STREAM, 2**31 - 1, 8)
        + frames.goaway(7, 11)
        + frames.settings_frame([(3, 128), (4, 65536)])
    )
    assert isinstance(data, DataFrame) and (data.stream_id, data.data, set(data.flags)) == (5, b"x", {"END_STREAM"})
    assert isinstance(reset, RstStreamFrame) and (reset.stream_id, reset.error_code) == (2**31 - 1, 8)
    assert isinstance(away, GoAwayFrame) and (away.last_stream_id, away.error_code) == (7, 11)
    assert isinstance(settings, SettingsFrame) and settings.settings == {3: 128, 4: 65536}


@pytest.mark.parametrize("size", [0, 16384, 16385, 40000])
def test_field_blocks(size: int) -> None:
    first, *rest = parsed(frames.header_frames(3, b"x" * size, True))
    assert isinstance(first, HeadersFrame) and "END_STREAM" in first.flags
    assert all(isinstance(each, ContinuationFrame) and each.stream_id == 3 for each in rest)
    ends = ["END_HEADERS" in each.flags for each in (first, *rest)]
    assert ends == [False] * len(rest) + [True] and len(rest) == max(0, -(-size // 16384) - 1)
    assert first.data + b"".join(each.data for each in rest) == b"x" * size


def test_settings() -> None:
    assert frames.read_settings(b"\0\1\0\0\0\0\xff\xff\0\0\0\1") == [(1, 0), (65535, 1)]
    for payload, code in (
        (b"\0\2\0\0\0\2", 1),
        (b"\0\4\x80\0\0\0", 3),
        (b"\0\5\0\0\x3f\xff", 1),
        (b"\0\5\1\0\0\0", 1),
        (b"\0" * 7, 6),
    ):
        with pytest.raises(frames.ConnectionFault) as caught:
            frames.read_settings(payload)
        assert caught.value.code == code


def test_padding() -> None:
    assert frames.without_padding(0, b"\2abc") == b"\2abc"
    assert frames.without_padding(frames.PADDED, b"\2abc\0\0") == b"abc"
    assert frames.without_padding(frames.PADDED, b"\0") == b""
    for payload in (b"\4abc", b""):
        with pytest.raises(frames.ConnectionFault):
            frames.without_padding(frames.PADDED, payload)
