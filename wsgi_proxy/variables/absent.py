"""nginx's variables of features that are not here. They exist, because files name them in log formats.

Rules:
- They are not found, but the browser's: without the directives of ngx_http_browser_module every browser counts as ancient.
Source: nginx's index of variables, ngx_http_browser_module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..http import pages

if TYPE_CHECKING:
    from ..exchange import Exchange

_NAMES = """
acme_certificate acme_certificate_key
geoip_area_code geoip_city geoip_city_continent_code geoip_city_country_code geoip_city_country_code3 geoip_city_country_name
geoip_country_code geoip_country_code3 geoip_country_name geoip_dma_code geoip_latitude geoip_longitude geoip_org
geoip_postal_code geoip_region geoip_region_name
http3 jwt_payload modern_browser
quic_connection session_log_binary_id session_log_id
upstream_last_server_name upstream_queue_time
""".split()

TEXT: dict[str, str] = {"ancient_browser": "'1'"}

OPTIONAL: dict[str, str] = {**dict.fromkeys(_NAMES, "None"), "msie": "msie(x)"}

PREFIXES: dict[str, Callable[[str], str]] = {
    "jwt_claim_": lambda rest: "None",
    "jwt_header_": lambda rest: "None",
}


def msie(exchange: Exchange) -> str | None:
    """Return "1" for Microsoft Internet Explorer, but not for an Opera that claims to be one (ngx_http_process_user_agent)."""
    return "1" if pages.is_msie(exchange.environ.get("HTTP_USER_AGENT", "")) else None
