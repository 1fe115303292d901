"""Helpers for tests of directives: from a piece of configuration to the part of the model that it sets."""

from __future__ import annotations

from typing import Any

import pytest

from wsgi_proxy.config import Config, Location, ServerBlock, Upstream
from wsgi_proxy.errors import ConfigError
from wsgi_proxy.nginx import reader as nginx


def http(text: str) -> Config:
    return nginx.loads(f"events {{}} http {{ {text} }}", path="/etc/x/nginx.conf", prefix="/srv/x")


def server(text: str, outside: str = "") -> ServerBlock:
    return http(f"{outside} server {{ {text} }}").servers[0]


def location(text: str, outside: str = "") -> Location:
    return server(f"location / {{ {text} }}", outside).locations[0]


def upstream(text: str, outside: str = "") -> Upstream:
    return http(f"{outside} upstream u {{ {text} }}").upstreams["u"]


def faults(text: str) -> list[str]:
    """The faults of what stands inside `http`."""
    with pytest.raises(ConfigError) as caught:
        http(text)
    return [fault.message for fault in caught.value.faults]


def said(template: Any) -> str:
    """The text of a template without variables."""
    assert template is not None and template.constant is not None
    return str(template.constant)
