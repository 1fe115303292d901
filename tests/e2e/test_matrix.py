"""Every byte arrives, at its client only: each protocol, worker class, storage, framing, size and pause, in both directions.

`MATRIX=whole` (make test-matrix) tries all combinations, otherwise a subset that covers every pair of them.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from pathlib import Path

import pytest

from tests.support.matrix import Origin, try_cases
from tests.support.matrix_cases import PROTOCOLS, SIZES, WORKERS, Pause, content, covering_cases, digest, every_case, interactions
from tests.support.matrix_clients import Stop
from tests.support.matrix_endpoint import run_endpoint
from tests.support.matrix_http2 import Http2Client

WHOLE = os.environ.get("MATRIX") == "whole"
# Real nginx (MATRIX_WORKERS=nginx) shows that a fault is not the test's.
CHOSEN = os.environ.get("MATRIX_WORKERS", " ".join(WORKERS)).split()


@pytest.mark.timeout(3600 if WHOLE else 300)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("worker", CHOSEN)
def test_every_byte_arrives(worker: str, protocol: str, tmp_path: Path) -> None:
    proxy = ("ProxyWorker" if worker == "nginx" else worker, protocol)
    cases = every_case(*proxy) if WHOLE else [case for case in covering_cases() if case[:2] == proxy]
    origin = Origin()
    began = time.monotonic()
    with origin.recorder, run_endpoint(worker, protocol, origin.recorder.address, tmp_path) as (endpoint, server):
        faulty = try_cases(cases, endpoint, origin)
        log = server.log()
    print(f"{worker} {protocol}: {len(cases)} cases, {len(faulty)} with faults, {time.monotonic() - began:.1f} s")
    told = "\n".join(f"{check.case}, at {check.case.at}: {'; '.join(check.faults)}" for check in faulty)
    odd = [line for line in log.splitlines() if re.search(r"alert|crit|emerg|CRITICAL|exit|Worker|timed out", line)]
    assert not faulty, f"{len(faulty)} of {len(cases)} cases:\n{told}\n" + "\n".join(odd[-20:])
    # gunicorn's own workers log a response that breaks off, and gevent a handshake, with a traceback.
    assert "Traceback" not in log or worker != "ProxyWorker", log[log.index("Traceback") :][:3000]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("worker", CHOSEN)
def test_streams_of_one_connection(worker: str, tmp_path: Path) -> None:
    """Downloads and uploads that are under way at once on one HTTP/2 connection have their own bytes each."""
    proxy = ("ProxyWorker" if worker == "nginx" else worker, "http2")
    cases = [
        case
        for case in every_case(*proxy)
        if case.pause == Pause() and case.store in ("off", "unbuffered") and case.size in (1, SIZES[5], SIZES[6])
    ]
    origin = Origin()
    with origin.recorder, run_endpoint(worker, "http2", origin.recorder.address, tmp_path) as (endpoint, _):
        requests: list[tuple[str, str, bytes | None, str, Stop | None]] = []
        for case in cases:
            origin.add(case)
            body = content(case.key, "a", case.size) if case.direction == "upload" else None
            requests.append((f"/{case.store}/{case.key}", "a", body, case.framing, None))
        client = Http2Client(endpoint.connect(slow=False))
        responses = client.together(requests)
        client.close()
    for case, got in zip(cases, responses, strict=True):
        wanted = digest(case.key, "a", case.size)
        if case.direction == "upload":
            wanted = hashlib.sha256(f"{wanted} {case.size}".encode()).hexdigest()
        assert got.complete and (got.status, got.sha256) == (200, wanted), f"{case}: {got}"


def test_the_subset_covers() -> None:
    """Each interaction of all combinations is in the subset, which is the same in every process."""
    every = [case for worker in WORKERS for protocol in PROTOCOLS for case in every_case(worker, protocol)]
    chosen = covering_cases()
    assert set().union(*map(interactions, chosen)) == set().union(*map(interactions, every))
    assert len(set(chosen)) == len(chosen) < len(every) / 20
    assert len({case.number for case in every}) == len(every)
