"""`tunnel_*`."""

from __future__ import annotations

from tests.support.directive import location, said, server


def test_a_tunnel() -> None:
    text = (
        "tunnel_pass a:443; tunnel_connect_timeout 1s; tunnel_send_timeout 2s; tunnel_read_timeout 3s; tunnel_buffer_size 4k; "
        "tunnel_next_upstream error; tunnel_next_upstream_tries 5; tunnel_next_upstream_timeout 6s; tunnel_bind 127.0.0.1; "
        "tunnel_allow_upstream $arg_a $arg_b;"
    )
    found = location(text)
    tunnel = found.tunnel
    assert (found.handler, said(tunnel.pass_), tunnel.buffer_size, tunnel.next_upstream) == (
        "tunnel_pass",
        "a:443",
        4096,
        {"error"},
    )
    assert (tunnel.connect_timeout, tunnel.send_timeout, tunnel.read_timeout) == (1.0, 2.0, 3.0)
    assert (tunnel.next_upstream_tries, tunnel.next_upstream_timeout, said(tunnel.bind)) == (5, 6.0, "127.0.0.1")
    assert len(found.guard.tunnel_allow_upstream or ()) == 2


def test_a_server_that_tunnels_but_its_locations_do_not() -> None:
    found = server("tunnel_pass; tunnel_read_timeout 9s; location / { }")
    assert (found.settings.handler, found.locations[0].handler) == ("tunnel_pass", "")
    assert found.settings.tunnel.pass_ is not None and found.locations[0].tunnel.pass_ is None
    assert found.locations[0].tunnel.read_timeout == 9.0
