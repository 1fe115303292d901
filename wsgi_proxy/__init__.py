"""A reverse proxy in Python that runs an nginx.conf as a Werkzeug WSGI application.

Rules:
- Only public names are here. Each is imported on first use (PEP 562), so importing the package is cheap.
- `app` reads its configuration on first use: the file that WSGI_PROXY_CONFIG names, else ./nginx.conf.
- No module of the package may be called `app`, because the module would hide the application from gunicorn.
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
