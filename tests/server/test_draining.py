"""Draining, replacing and stopping workers, with real processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.support.client import Client, fetch
from tests.support.ports import wait_until
from tests.support.server_site import GET, site


def test_worker_shutdown_timeout_ends_tunnels(tmp_path: Path) -> None:
    with site(tmp_path, shutdown_timeout=0.3) as here, Client(here.port) as client:
        client.send(b"GET /tunnel HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_exactly(7) == b"tunnel "
        here.reload(text="two")
        assert client.read_all() == b""
        wait_until(lambda: len(here.workers()) == 2, "the old workers to end")


def test_the_number_of_workers_follows_the_configuration(tmp_path: Path) -> None:
    with site(tmp_path, workers=1) as here:
        assert len(here.workers()) == 1
        here.reload(workers=3)
        wait_until(lambda: len(here.workers()) == 3, "three workers")
        here.reload(workers=1)
        wait_until(lambda: len(here.workers()) == 1, "one worker")


def test_quit_and_term_let_requests_end(tmp_path: Path) -> None:
    for number in (signal.SIGQUIT, signal.SIGTERM):
        with site(tmp_path) as here:
            (tmp_path / "begun").unlink(missing_ok=True)
            with Client(here.port) as busy, Client(here.port) as idle:
                assert idle.exchange(GET).status == 200
                busy.send(GET.replace(b"/ ", b"/slow ", 1))
                wait_until((tmp_path / "begun").exists, "the request to begin")
                here.server.signal(number)
                response = busy.read_response()
                assert (response.text, response.get("Connection")) == ("one", "close")
                assert idle.read_all() == b""
            assert here.server.process.wait(30) == 0


def test_int_ends_at_once(tmp_path: Path) -> None:
    with site(tmp_path) as here, Client(here.port) as client:
        client.send(b"GET /tunnel HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_exactly(7) == b"tunnel "
        here.server.signal(signal.SIGINT)
        assert here.server.process.wait(30) == 0


def test_killed_workers_are_replaced_and_the_rest_goes_on(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        for _ in range(2):
            victim = min(here.workers())
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda victim=victim: victim not in here.workers() and len(here.workers()) == 2, "another worker")
            assert fetch(here.port).status == 200


def test_workers_told_to_end_when_they_were_only_just_forked_do_end(tmp_path: Path) -> None:
    with site(tmp_path, workers=1) as here:
        for _ in range(8):
            here.server.signal(signal.SIGTTIN)
            here.server.signal(signal.SIGTTOU)
            # The response shows that the main process and its loop have continued.
            assert fetch(here.port).status == 200

        def one_worker() -> bool:
            # The kernel keeps one signal of a kind, so that a busy main process may have missed one. It ignores one too many.
            here.server.signal(signal.SIGTTOU)
            return len(here.workers()) == 1

        wait_until(one_worker, "one worker", 30)
