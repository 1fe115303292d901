"""Logs that are sent to a syslog server: the messages are compared with nginx's, over UDP and to a unix socket."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import fetch, free_port, run_nginx, run_proxy
from wsgi_proxy.logs.syslog import Sender, parse, stamp

VARIED = [
    (rb"(\d{2}:\d{2}:\d{2})", b"TIME"),
    (rb"\d{4}/\d{2}/\d{2}", b"DATE"),
    (rb"\d+#\d+: (\*\d+ )?", b"PID "),
    (rb"/\S*/(nginx|proxy)/", b"PREFIX/"),
    (rb":\d{4,5}\b", b":PORT"),
]


class Receiver:
    """A socket that syslog messages are sent to."""

    def __init__(self, sock: socket.socket, server: str) -> None:
        self.socket = sock
        self.server = server

    def message(self) -> bytes:
        """Return the next message, with times, process IDs and ports replaced."""
        self.socket.settimeout(60)
        text = self.socket.recv(65536)
        for pattern, shown in VARIED:
            text = re.sub(pattern, shown, text)
        return text


@contextmanager
def receiver(kind: str, folder: Path) -> Iterator[Receiver]:
    folder.mkdir(exist_ok=True)
    with socket.socket(socket.AF_INET if kind == "udp" else socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        if kind == "udp":
            sock.bind(("127.0.0.1", 0))
            yield Receiver(sock, f"127.0.0.1:{sock.getsockname()[1]}")
        else:
            path = folder / "log"
            sock.bind(str(path))
            yield Receiver(sock, f"unix:{path}")


def conf(port: int, server: str, folder: Path) -> str:
    return f"""
error_log syslog:server={server},facility=user,tag=main info;
events {{}}
http {{
    log_format f "$request_method $uri $status";
    server {{
        listen {port}; root {folder};
        error_log syslog:server={server},nohostname;
        access_log syslog:server={server} f if=$arg_log;
        access_log syslog:server={server},facility=local0,severity=warn,tag=Web_1,nohostname f;
        location /empty {{ access_log syslog:server={server},tag=; return 204; }}
    }}
}}
"""


@pytest.mark.parametrize("kind", ["udp", "unix"])
def test_messages_are_nginxs(kind: str, tmp_path: Path) -> None:
    told = []
    for name, run in (("n", run_nginx), ("p", run_proxy)):
        with receiver(kind, tmp_path / name) as end:
            port = free_port()
            with run(conf(port, end.server, tmp_path), tmp_path):
                assert fetch(port, "/missing?log=1").status == 404
                found = []
                while len(found) < 3:
                    text = end.message()
                    if b"/missing" in text:
                        found.append(text)
                assert fetch(port, "/empty").status == 204
                while b"/empty" not in (text := end.message()):
                    pass
                told.append([*found, text])
    theirs, ours = told
    assert ours[:3] == theirs[:3]
    # The last line ends with the client's fields.
    assert ours[3].split(b"[")[0] == theirs[3].split(b"[")[0]
    assert theirs[1].startswith(b"<190>") and theirs[2].startswith(b"<132>") and b" Web_1: GET /missing 404" in theirs[2]


def test_the_parameters() -> None:
    found = parse("syslog:server=[::1]:99,facility=cron,severity=debug,tag=x,nohostname")
    assert (found.server, found.facility, found.severity, found.tag, found.hostname) == ("[::1]:99", 15, 7, "x", False)
    assert parse("syslog:server=h").facility == 23 and parse("syslog:server=h").severity == 6


def test_a_day_is_padded_by_a_space() -> None:
    assert re.fullmatch(r"[A-Z][a-z]{2} [ 1-3][0-9] \d\d:\d\d:\d\d", stamp(86400.0 * 2))
    assert stamp(86400.0 * 4.5).startswith("Jan  5 ")


def test_a_server_that_comes_back_gets_the_next_message(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sender = Sender(parse(f"syslog:server=unix:{path},nohostname"))
    with pytest.raises(OSError, match="No such file"):
        sender.send(b"lost")
    for _ in range(2):
        with receiver("unix", tmp_path) as end:
            try:
                sender.send(b"kept")
            except OSError:
                sender.send(b"kept")
            assert end.message().endswith(b" nginx: kept")
        path.unlink()
    sender.close()
