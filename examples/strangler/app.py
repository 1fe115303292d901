"""The strangler pattern: a new application takes over an old one path by path.

`nginx.conf` lists the paths that the old application still serves. To move a path, add a route here and delete its location
there.
"""

from __future__ import annotations

from pathlib import Path

from flask import Flask

from wsgi_proxy import ProxyMiddleware

app = Flask(__name__)


@app.get("/")
def home() -> str:
    return "new home"


@app.get("/shop/cart")
def cart() -> str:
    """A path that has moved: its exact location is not in nginx.conf, so this route answers."""
    return "new cart"


app.wsgi_app = ProxyMiddleware(app.wsgi_app, Path(__file__).with_name("nginx.conf"))  # type: ignore[method-assign]
