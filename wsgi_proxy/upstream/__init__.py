"""Pools of upstream servers: leases, connection counts, name resolution and health checks."""

from .checks import Probes
from .pool import Lease, Pool
from .pool_state import Runtime
from .resolver import Resolver, parse, split, split_port

__all__ = ["Lease", "Pool", "Probes", "Resolver", "Runtime", "parse", "split", "split_port"]
