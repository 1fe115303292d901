"""`return 444`: the connection is closed without a response, under every kind of worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import fetch, request_bytes, run_gunicorn, send_raw

CONF = "events {} http { server { listen 80; location /x { return 444; } location / { return 200 ok; } } }"


@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent", "wsgi_proxy.worker.ProxyWorker"])
def test_the_connection_is_closed_without_an_answer(tmp_path: Path, worker: str) -> None:
    (tmp_path / "gunicorn").mkdir()
    (tmp_path / "gunicorn" / "nginx.conf").write_text(CONF)
    with run_gunicorn("wsgi_proxy:app", tmp_path, worker) as server:
        assert send_raw(server.address, request_bytes("/x")) == b""
        assert fetch(server.address).status == 200
        assert "Traceback" not in server.log()
