"""Runs `server.run` with a configuration from a JSON file and a WSGI application that reports on itself.

    python -m tests.support.server_script FILE

FILE: {"ports": [...], "text": "...", "workers": 2, "shutdown_timeout": 0, "broken": false, "unloadable": false, "pid": "t.pid"}.
It is read again for each reload. `/slow` answers after 0.5 s, `/tunnel` echoes until its client ends.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from wsgi_proxy.config import Config, CoreSettings, Listen, Location, Main, ServerBlock
from wsgi_proxy.errors import ConfigError, Fault
from wsgi_proxy.server import application as server

FILE = Path(sys.argv[1])


def load() -> Config:
    said = json.loads(FILE.read_text())
    if said.get("broken"):
        raise ConfigError(Fault("first fault", "x.conf", 3), Fault("second fault", "x.conf", 4))
    listens = tuple(Listen(host="127.0.0.1", port=port) for port in said["ports"])
    return Config(
        prefix=str(FILE.parent),
        # The application must be made from the same version of the file.
        files=(("said", json.dumps(said)),),
        main=Main(
            worker_processes=said.get("workers", 2),
            worker_shutdown_timeout=said.get("shutdown_timeout", 0.0),
            pid=said.get("pid", "t.pid"),
            error_log=((said.get("log", "stderr"), "info"),),
        ),
        servers=(ServerBlock(listens=listens, settings=Location(core=CoreSettings(keepalive_timeout=20.0))),),
    )


def factory(config: Config) -> Any:
    said = json.loads(config.files[0][1])
    if said.get("unloadable"):
        raise ConfigError(Fault("the application cannot be made"))

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/tunnel":
            return tunnel(environ["wsgi_proxy.connection"])
        if path == "/slow":
            (FILE.parent / "begun").touch()
            time.sleep(0.5)
        start_response("200 OK", [("X-Pid", str(os.getpid()))])
        return [said["text"].encode()]

    return app


def tunnel(connection: Any) -> Iterable[bytes]:
    stream, _ = connection.take_over()
    stream.read_timeout = None
    stream.sendall(b"tunnel ")
    while data := stream.recv(1000):
        stream.sendall(data)
    return
    yield


if __name__ == "__main__":
    try:
        sys.exit(server.run(load(), load, factory))
    except ConfigError as error:
        sys.exit(f"[emerg] {error}")
