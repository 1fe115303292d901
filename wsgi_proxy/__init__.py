"""A reverse proxy that lives inside Python: it runs an nginx.conf as a Werkzeug WSGI application.

Rules:
- This is the front door and nothing else: importing it costs nothing until a name is used (PEP 562).
- `app` reads its configuration when it is first asked for: WSGI_PROXY_CONFIG, else ./nginx.conf.
- No module of the package may be called `app`: the name would then be the module, and gunicorn could not call it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import Config, HealthCheck, Server
    from .errors import CheckFailed, ConfigError
    from .upstream import Pool
    from .wsgi import Proxy, ProxyApp, ProxyMiddleware

__version__ = "1.0.0"
# Without `app`, so that `import *` does not ask for a configuration.
__all__ = [
    "CheckFailed",
    "Config",
    "ConfigError",
    "HealthCheck",
    "Pool",
    "Proxy",
    "ProxyApp",
    "ProxyMiddleware",
    "Server",
]

_HOMES = {
    "CheckFailed": "errors",
    "Config": "config",
    "ConfigError": "errors",
    "HealthCheck": "config",
    "Pool": "upstream",
    "Proxy": "wsgi",
    "ProxyApp": "wsgi",
    "ProxyMiddleware": "wsgi",
    "Server": "config",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "app":
        value = import_module(".wsgi", __name__).make_app()
    elif name in _HOMES:
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value
