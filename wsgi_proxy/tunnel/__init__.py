"""Tunnels: WebSockets, other upgrades and CONNECT."""

from .tunnel import Dialled, Tunnelled, can_tunnel, require_connection

__all__ = ["Dialled", "Tunnelled", "can_tunnel", "require_connection"]
