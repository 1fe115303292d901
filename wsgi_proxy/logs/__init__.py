"""The access log, the error log and the files behind them."""

from .accesslog import AccessLogs, constant_paths
from .logfile import keep

__all__ = ["AccessLogs", "constant_paths", "errorlog", "keep", "logfile"]
