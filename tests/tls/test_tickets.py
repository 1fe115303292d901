"""Keys of session tickets: shared by servers, rotated, refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tls import Files, Pair, shake
from wsgi_proxy.tls.server import listener_context


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.mark.parametrize("size", [48, 80])
def test_a_key_for_tickets_is_shared(files: Files, size: int) -> None:
    key, other = files.folder / "ticket.key", files.folder / "other.key"
    key.write_bytes(bytes(range(size)))
    other.write_bytes(bytes(range(1, 49)))
    pair = files.pair("localhost")

    def resumed(*places: str | tuple[str, ...]) -> bool:
        """Return True if a process with the keys in the second files resumes a session of one with those in the first."""
        named = [(place,) if isinstance(place, str) else place for place in places]
        first, second = (listener_context([(files.block(pair=pair, session_ticket_key=keys), True)]) for keys in named)
        client = files.client()
        begun = shake(first, client)
        begun.exchange()
        return bool(Pair(second, client, session=begun.client.session).handshake().server.session_reused)

    assert resumed(str(key), str(key))
    assert not resumed(str(key), str(other))
    assert not resumed(str(other), str(key))
    assert resumed((str(other), str(key)), (str(key), str(other)))
    assert resumed(str(key), (str(other), str(key)))
    assert not resumed((str(other), str(key)), str(key)), "the first key encrypts"
    key.write_bytes(b"short")
    with pytest.raises(ValueError, match="must be 48 or 80 bytes"):
        listener_context([(files.block(session_ticket_key=(str(key),)), True)])


def test_sessions_are_resumed_by_ticket(files: Files) -> None:
    context = listener_context([(files.block(), True)])
    client = files.client()
    first = shake(context, client)
    first.exchange()
    second = Pair(context, client, session=first.client.session).handshake()
    assert second.server.session_reused
    for kind in ("off", "none"):
        context = listener_context([(files.block(session_tickets=False, session_cache=kind), True)])
        first = shake(context, client)
        first.exchange()
        second = Pair(context, client, session=first.client.session).handshake()
        assert not second.server.session_reused
