"""Responses on a client's connection: the fields of a head, and the writer that frames and sends them."""

from .fields import NAMES, SERVER, check_value, clock, http_date, learn_name
from .head import HeadWriter
from .writer import ResponseWriter, ShortBody

__all__ = ["NAMES", "SERVER", "HeadWriter", "ResponseWriter", "ShortBody", "check_value", "clock", "http_date", "learn_name"]
