"""Access control: addresses, passwords, certificates, limits and forward-proxy destinations."""

from .body_limit import bound_body
from .client_certificate import tls_of, verdict
from .destinations import is_clients, is_elsewhere
from .guard import AccessPlan, Guard
from .passwords import load_libraries

__all__ = [
    "AccessPlan",
    "Guard",
    "bound_body",
    "destinations",
    "is_clients",
    "is_elsewhere",
    "load_libraries",
    "tls_of",
    "verdict",
]
