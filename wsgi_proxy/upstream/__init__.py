"""Pools of upstream servers: leases, connection counts, name resolution and health checks."""

from .checks import Probes
from .pool import Lease, Pool
from .resolver import Resolver, parse, split, split_port

__all__ = ["Lease", "Pool", "Probes", "Resolver", "parse", "split", "split_port"]
