"""tls_records: handshakes that do not wait, and the session's own records. `test_tls_stream.py` tests the rest."""

from __future__ import annotations

import socket
import ssl

import pytest
import trustme

from wsgi_proxy.net.gevent_stream import GreenStream
from wsgi_proxy.net.plain_stream import PlainStream
from wsgi_proxy.net.stream import Stream
from wsgi_proxy.net.tls_stream import TLSStream


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
