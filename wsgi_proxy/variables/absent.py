"""nginx's variables of features that are not here. They exist, because files name them in log formats, and are not found.

Source: nginx's index of variables.
"""

from __future__ import annotations

from collections.abc import Callable

_NAMES = """
acme_certificate acme_certificate_key
geoip_area_code geoip_city geoip_city_continent_code geoip_city_country_code geoip_city_country_code3 geoip_city_country_name
geoip_country_code geoip_country_code3 geoip_country_name geoip_dma_code geoip_latitude geoip_longitude geoip_org
geoip_postal_code geoip_region geoip_region_name
http3 jwt_payload
otel_parent_id otel_parent_sampled otel_span_id otel_trace_id
quic_connection session_log_binary_id session_log_id
upstream_last_server_name upstream_queue_time
""".split()

OPTIONAL: dict[str, str] = dict.fromkeys(_NAMES, "None")

PREFIXES: dict[str, Callable[[str], str]] = {
    "jwt_claim_": lambda rest: "None",
    "jwt_header_": lambda rest: "None",
}
