"""tls_records: handshakes that do not wait, and the session's own records. `test_tls_stream.py` tests the rest."""

from __future__ import annotations

import os
import random
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support.tls import Files
from wsgi_proxy.net.gevent_stream import GreenStream
from wsgi_proxy.net.plain_stream import PlainStream
from wsgi_proxy.net.stream import Stream
from wsgi_proxy.net.tls_stream import TLSStream
from wsgi_proxy.tls.server import listener_context


@pytest.mark.parametrize("kind", [PlainStream, GreenStream])
@pytest.mark.parametrize("first", ["write", "empty read"])
def test_session_tickets_leave_with_the_first_write(kind: type[Stream], first: str) -> None:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    stream = TLSStream(kind(ours), server, None, server_side=True)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer = client.wrap_bio(incoming, outgoing, server_hostname="localhost")
    assert not stream.handshake_nowait()
    with pytest.raises(ssl.SSLWantReadError):
        peer.do_handshake()
    theirs.send(outgoing.read())
    assert not stream.handshake_nowait()
    incoming.write(theirs.recv(65536))
    peer.do_handshake()
    theirs.send(outgoing.read())
    assert stream.handshake_nowait()
    with pytest.raises(BlockingIOError):
        theirs.recv(1)
    if first == "write":
        stream.send_nowait(b"response")
        incoming.write(theirs.recv(65536))
        assert peer.read(100) == b"response"
    else:
        assert stream.recv_nowait(100) is None
        incoming.write(theirs.recv(65536))
        with pytest.raises(ssl.SSLWantReadError):
            peer.read(100)
    assert peer.session is not None and peer.session.has_ticket
    stream.close()
    theirs.close()


def _shaken(context: Any, client: ssl.SSLContext) -> tuple[TLSStream, socket.socket, Any, ssl.MemoryBIO]:
    """Return (the server's stream, its other end, the client, the client's records) after a handshake."""
    ours, theirs = socket.socketpair()
    stream = TLSStream(PlainStream(ours), context, None, server_side=True)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer = client.wrap_bio(incoming, outgoing, server_hostname="localhost")
    done = False
    while not done:
        try:
            peer.do_handshake()
        except ssl.SSLWantReadError:
            pass
        theirs.sendall(outgoing.read())
        done = stream.handshake_nowait()
        if not done:
            incoming.write(theirs.recv(65536))
    return stream, theirs, peer, outgoing


@pytest.mark.parametrize("library", ["ssl", "pyOpenSSL"])
@pytest.mark.parametrize("most", [40, 16384])
@pytest.mark.parametrize("seed", range(5))
def test_every_complete_record_is_read_however_records_are_cut(library: str, most: int, seed: int, tmp_path: Path) -> None:
    files = Files(tmp_path)
    asking = {"verify_client": "optional", "client_certificate": files.ca_path} if library == "pyOpenSSL" else {}
    context = listener_context([(files.block("localhost", **asking), True)])
    context.sni_callback = None
    stream, theirs, peer, outgoing = _shaken(context, files.client())
    chance = random.Random(seed)
    sent = b""
    wire = b""
    ends: list[tuple[int, int]] = []
    for _ in range(80):
        message = os.urandom(chance.choice((1, 35, 40, 200, 16384 if most > 40 else 900)))
        peer.write(message)
        sent += message
        wire += outgoing.read()
        ends.append((len(wire), len(sent)))
    got = b""
    at = 0
    while at < len(wire):
        # A record alone, several at once, or a cut anywhere: in a header, in a body, before the last byte.
        whole = [end for end, _ in ends if end > at]
        piece = chance.choice((whole[0], whole[min(2, len(whole) - 1)], at + 3, at + 5, at + 30, whole[0] - 1, whole[0] + 3))
        piece = max(at + 1, min(piece, len(wire)))
        theirs.sendall(wire[at:piece])
        at = piece
        while (data := stream.recv_nowait(most)) is not None:
            assert data
            got += data
        assert not stream.held()
        assert len(got) == max((size for end, size in ends if end <= at), default=0)
    assert got == sent
    stream.close()
    theirs.close()
