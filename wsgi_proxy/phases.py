"""The phases of a request: the attributes of an Exchange that each one writes, and the packages that write them.

Rules:
- An attribute of an Exchange is written by the packages of its phase only. A test compares this table with the code.
"""

from __future__ import annotations

PHASES = {
    "arrival": (
        "access proxy wsgi",
        """absolute chunked connection content_length environ fields input method pairs peer_addr protocol raw_target remote_addr
        remote_port scheme started target trusted_peer writer""",
    ),
    "routing": (
        "routing static",
        """args behind_alias captures compiled host host_given internal location named_location prefix redirects relocate
        rewritten_in_place server site underscored uri uri_changed""",
    ),
    "scripts": ("routing nginx variables", "captures variables"),
    "access": ("access limits", "limit_conn_status limit_req_status remote_user"),
    "cache": ("cache", "cache_key cache_status update"),
    "upstream": (
        "proxy upstream balance",
        """body_bytes_received body_dropped proxy_host proxy_port request_body request_body_file slice_range
        tried tries upgrade upload upstream_name upstream_pairs""",
    ),
    "internal redirect": (
        "proxy static",
        "background content_type depth error_page_made error_type error_response error_status fields_only kept main subrequest",
    ),
    "response": ("proxy routing static wsgi", "added_trailers response status varies"),
    "delivery": (
        "wsgi tunnel filters",
        "body_bytes_sent completed finished_at gzip_sizes sent_trailers upstream_trailers",
    ),
    "any": (
        "filters limits proxy tracing variables cli",
        "leases limit_rate metrics page request_id_value subrequests trace trace_context user_id",
    ),
}
"""The phases of a request in their order: the packages that write the phase's attributes, and the attributes."""

RECORD = tuple(dict.fromkeys(name for _, names in PHASES.values() for name in names.split()))
"""The names of all attributes of an Exchange."""
