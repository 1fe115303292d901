"""nginx's variables of the client's browser, in the forms of `variables/request`.

Source: ngx_http_browser_module. Without its directives every browser counts as ancient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..exchange import Exchange

TEXT: dict[str, str] = {
    "ancient_browser": "'1'",
}

OPTIONAL: dict[str, str] = {
    "modern_browser": "None",
    "msie": "msie(x)",
}


def msie(exchange: Exchange) -> str | None:
    """Return "1" for Microsoft Internet Explorer, but not for an Opera that claims to be one (ngx_http_process_user_agent)."""
    agent = exchange.environ.get("HTTP_USER_AGENT", "")
    at = agent.find("MSIE ")
    return "1" if at >= 0 and at + 7 < len(agent) and "Opera" not in agent else None
