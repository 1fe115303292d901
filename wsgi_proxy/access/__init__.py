"""Access control: addresses, passwords, certificates, limits and forward-proxy destinations."""

from .body_limit import bound_body, check_unread
from .client_certificate import tls_of, verdict
from .destinations import client_names, is_elsewhere
from .guard import AccessPlan, Guard
from .passwords import lacks_bcrypt, load_libraries
from .symlinks import file_status, open_file

__all__ = [
    "AccessPlan",
    "Guard",
    "bound_body",
    "check_unread",
    "client_names",
    "destinations",
    "file_status",
    "is_elsewhere",
    "lacks_bcrypt",
    "load_libraries",
    "open_file",
    "tls_of",
    "verdict",
]
