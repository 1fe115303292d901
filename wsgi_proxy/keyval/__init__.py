"""Key-value pairs that requests look up and that change at run time: `keyval_zone` and `keyval` (ngx_http_keyval_module).

Rules:
- The pairs are in memory that the workers share, and with `sync` in Redis for all machines of the cluster.
"""

from . import api as api
from .matching import KINDS as KINDS
from .sync import Rounds as Rounds
from .variable import Keyval
from .zone import Full, Zone
from .zones import Zones

__all__ = ["Full", "Keyval", "Zone", "Zones"]
