"""The access log, the error log, the files behind them, and the trace context."""

from .accesslog import AccessLogs, constant_paths
from .buffer import GZIP_SIZE
from .line import LogLine, RequestField
from .logfile import keep
from .trace_context import TraceContext, parent_of

__all__ = [
    "AccessLogs",
    "GZIP_SIZE",
    "LogLine",
    "RequestField",
    "TraceContext",
    "constant_paths",
    "errorlog",
    "keep",
    "logfile",
    "parent_of",
    "syslog",
]
