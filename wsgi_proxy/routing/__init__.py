"""The choice of a server block and a location, rewrites and redirects."""

from .redirects import absolute, complete_location, content_type, page_response, redirect_within, slash_redirect
from .rewrite import compile_condition, compile_rewrite
from .router import Router

__all__ = [
    "Router",
    "absolute",
    "complete_location",
    "compile_condition",
    "compile_rewrite",
    "content_type",
    "page_response",
    "redirect_within",
    "slash_redirect",
]
