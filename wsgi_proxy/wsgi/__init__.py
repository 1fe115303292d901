"""The WSGI application and middleware."""

from .app import Proxy, ProxyApp, make_app
from .middleware import ProxyMiddleware

__all__ = ["Proxy", "ProxyApp", "ProxyMiddleware", "make_app"]
