"""The access log, the error log and the files behind them."""

from .accesslog import AccessLogs, constant_paths
from .buffer import GZIP_SIZE
from .line import LogLine, RequestField
from .logfile import keep

__all__ = [
    "AccessLogs",
    "GZIP_SIZE",
    "LogLine",
    "RequestField",
    "constant_paths",
    "errorlog",
    "keep",
    "logfile",
    "syslog",
]
