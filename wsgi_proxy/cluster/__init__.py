"""State that several machines share in Redis or Valkey (`wsgi_proxy_cluster`).

Rules:
- Redis decides only while it answers within the configured time. Otherwise every decision is this machine's own.
- Its keys begin with `wsgi-proxy:{name}`. The braces keep them in one slot of a Redis Cluster.
"""

from .address import Address
from .connections import SharedConnections
from .link import Link, Script
from .membership import BEAT, LEASE, Machine, Membership
from .rates import SharedRates

__all__ = ["BEAT", "LEASE", "Address", "Link", "Machine", "Membership", "Script", "SharedConnections", "SharedRates"]
