"""Proxies in Python: the applications in `peers`, each with two processes and without TLS."""

from __future__ import annotations

import sys
from pathlib import Path

from .setup import WORKERS, Launch, Setup

FOLDER = Path(__file__).parent.parent / "peers"


def aiohttp(setup: Setup) -> Launch:
    return _launch(setup, "aiohttp_proxy.py")


def wsgiproxy2(setup: Setup) -> Launch:
    return _gunicorn(setup, "wsgiproxy2_app:app")


def werkzeug(setup: Setup) -> Launch:
    return _gunicorn(setup, "werkzeug_app:app")


def fastapi(setup: Setup) -> Launch:
    launch = _launch(setup, "-m", "uvicorn", "--workers", str(WORKERS), "--port", str(setup.port), "fastapi_app:app")
    # uvicorn writes its access log to standard output.
    shell = ["/bin/sh", "-c", 'exec "$@" >"$BENCH_ACCESS_LOG"', "sh"]
    return Launch([*shell, *launch.command], launch.env, FOLDER, tls=False)


def _gunicorn(setup: Setup, app: str) -> Launch:
    options = ["-w", str(WORKERS), "-b", f"127.0.0.1:{setup.port}", "-k", "gthread", "--threads", "8"]
    return _launch(setup, "-m", "gunicorn", *options, "--access-logfile", str(setup.access_log), app)


def _launch(setup: Setup, *arguments: str) -> Launch:
    env = {
        "BENCH_UPSTREAMS": ",".join(map(str, setup.upstreams.ports)),
        "BENCH_PORT": str(setup.port),
        "BENCH_ACCESS_LOG": str(setup.access_log),
    }
    return Launch([sys.executable, *arguments], env, FOLDER, tls=False)
