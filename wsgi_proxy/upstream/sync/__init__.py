"""Upstreams whose failures, checks and connections several machines share (`zone … sync`)."""

from .upstreams import SyncedUpstreams, probes_of

__all__ = ["SyncedUpstreams", "probes_of"]
