"""The request path."""

from .proxy import Proxy
from .response_headers import standard_page
from .subrequests import run_post_action
from .upstream_body import Forwarded

__all__ = ["Forwarded", "Proxy", "run_post_action", "standard_page", "tempfiles"]
