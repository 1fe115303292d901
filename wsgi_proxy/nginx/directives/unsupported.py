"""The directives of nginx and its well-known modules that wsgi_proxy has not and crossplane does not list."""

from __future__ import annotations

import re

_NAMES = frozenset(
    """
    echo grpc_pass least_conn_zone mgmt
    modsecurity proxy_downstream_buffer proxy_half_close
    proxy_ssl_alpn proxy_upstream_buffer ssl_ech_file ssl_engine sticky_cookie_insert tunnel_bind_dynamic
    upstream_conf upstream_list zstd
    """.split()
)
_FAMILIES = re.compile(
    r"(acme|auth_jwt|auth_oidc|echo|geoip2?|js|keyval(?!_zone$)|lua|modsecurity|more|passenger|"
    r"perl|push_stream|rtmp|session_log|vhost_traffic_status|xslt|zstd)_\w+|\w+_by_lua(_block|_file)?|"
    r"set_(escape|unescape|decode|encode|md5|sha1|hmac|random|secure_random|form_input|quote|misc|if_empty|base32|formatted|"
    r"hashed|local|rotate)\w*"
)


class _Unsupported:
    """A container of the names of unsupported directives."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in _NAMES or _FAMILIES.fullmatch(name) is not None)


UNSUPPORTED = _Unsupported()
