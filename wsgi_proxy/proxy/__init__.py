"""The request path."""

from .proxy import Proxy
from .response_headers import standard_page

__all__ = ["Proxy", "standard_page", "tempfiles"]
