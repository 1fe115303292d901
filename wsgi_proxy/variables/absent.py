"""The variables of ngx_http_browser_module, and those of features that are not here, which files name in log formats.

Rules:
- A variable of a feature that is not here is not found.
Source: nginx's index of variables, ngx_http_browser_module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..config import CoreSettings, is_modern
from ..http import pages

if TYPE_CHECKING:
    from ..exchange import Exchange

_NAMES = """
acme_certificate acme_certificate_key
geoip_area_code geoip_city geoip_city_continent_code geoip_city_country_code geoip_city_country_code3 geoip_city_country_name
geoip_country_code geoip_country_code3 geoip_country_name geoip_dma_code geoip_latitude geoip_longitude geoip_org
geoip_postal_code geoip_region geoip_region_name
http3 jwt_payload
quic_connection session_log_binary_id session_log_id
upstream_last_server_name upstream_queue_time
""".split()

TEXT: dict[str, str] = {}

OPTIONAL: dict[str, str] = {
    **dict.fromkeys(_NAMES, "None"),
    "msie": "msie(x)",
    "modern_browser": "browser(x, True)",
    "ancient_browser": "browser(x, False)",
}

PREFIXES: dict[str, Callable[[str], str]] = {
    "jwt_claim_": lambda rest: "None",
    "jwt_header_": lambda rest: "None",
}


def msie(exchange: Exchange) -> str | None:
    """Return "1" for Microsoft Internet Explorer, but not for an Opera that claims to be one (ngx_http_process_user_agent)."""
    return "1" if pages.is_msie(exchange.sent("HTTP_USER_AGENT") or "") else None


def browser(exchange: Exchange, modern: bool) -> str | None:
    """Return the value of `$modern_browser` or `$ancient_browser` if the client's browser is one."""
    location = exchange.location_or_none
    core = CoreSettings() if location is None else location.core
    if is_modern(exchange.sent("HTTP_USER_AGENT"), core.modern_browsers, core.ancient_browsers) is not modern:
        return None
    return core.modern_browser_value if modern else core.ancient_browser_value
