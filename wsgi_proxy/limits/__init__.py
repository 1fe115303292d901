"""`limit_req` and `limit_conn`, counted over all workers."""

from .connections import ConnectionCheck, ConnectionZone
from .requests import RateCheck, RateZone
from .table import Memory

__all__ = ["ConnectionCheck", "ConnectionZone", "Memory", "RateCheck", "RateZone"]
