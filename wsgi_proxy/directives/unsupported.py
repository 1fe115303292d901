"""Names of directives that nginx and its well-known modules have, that wsgi_proxy has not, and that crossplane does not list."""

from __future__ import annotations

import re

_NAMES = frozenset(
    """
    acme_issuer acme_certificate auth_oidc brotli brotli_static brotli_types echo http3 http3_hq
    js_content js_import js_set keyval_zone keyval least_conn_zone mgmt modsecurity modsecurity_rules_file more_clear_headers
    more_set_headers more_set_input_headers otel_exporter otel_trace passenger_enabled proxy_ssl_alpn quic_gso quic_retry
    set_by_lua ssl_certificate_compression ssl_ech_file sticky_cookie_insert tunnel_bind_dynamic uwsgi_pass
    upstream_conf vhost_traffic_status_zone zstd
    """.split()
)
_FAMILIES = re.compile(
    r"(acme|auth_jwt|auth_oidc|brotli|echo|fastcgi|geoip2?|grpc|http3|js|keyval|lua|memcached|modsecurity|more|otel|passenger|"
    r"perl|push_stream|quic|rtmp|scgi|session_log|uwsgi|vhost_traffic_status|xslt|zstd)_\w+|\w+_by_lua(_block|_file)?|"
    r"set_(escape|unescape|decode|encode|md5|sha1|hmac|random|secure_random|form_input|quote|misc|if_empty)\w*"
)


class _Unsupported:
    """Whether a name belongs to nginx or a well-known module."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in _NAMES or _FAMILIES.fullmatch(name) is not None)


UNSUPPORTED = _Unsupported()
