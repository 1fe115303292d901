"""A Django project in one file that forwards /legacy/ to another server and answers everything else itself.

In a project of several files, the last statement belongs in `wsgi.py`.
"""

from __future__ import annotations

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from wsgi_proxy import ProxyMiddleware

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["localhost", "127.0.0.1"], SECRET_KEY="only for this example")


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponse("new home")


urlpatterns = [path("", home)]

application = ProxyMiddleware(
    get_wsgi_application(),
    {"/legacy/": {"target": "http://127.0.0.1:3001/", "remove_prefix": True, "host": None}},
    timeout=30,
)
