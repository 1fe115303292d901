"""A Flask application that forwards /legacy/ to another server and answers everything else itself."""

from __future__ import annotations

from flask import Flask

from wsgi_proxy import ProxyMiddleware

app = Flask(__name__)


@app.get("/")
def home() -> str:
    return "new home"


app.wsgi_app = ProxyMiddleware(  # type: ignore[method-assign]
    app.wsgi_app,
    {"/legacy/": {"target": "http://127.0.0.1:3001/", "remove_prefix": True, "host": None}},
    timeout=30,
)
