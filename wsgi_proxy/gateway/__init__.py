"""FastCGI, uwsgi, SCGI and memcached: requests as bytes, and bytes as responses. Opens no socket."""

from .fastcgi import FastCGI
from .protocols import Gateway, gateway_of
from .records import Records
from .response import end_of_head, parse_gateway_head
from .uwsgi import SCGI, Uwsgi
from .variables import Variables, direct

__all__ = [
    "FastCGI",
    "Gateway",
    "Records",
    "SCGI",
    "Uwsgi",
    "Variables",
    "direct",
    "end_of_head",
    "gateway_of",
    "parse_gateway_head",
]
