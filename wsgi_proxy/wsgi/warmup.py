"""Warm-up: the imports and TLS contexts that the first requests would otherwise wait for.

Rules:
- A worker is warm before it accepts connections: no request imports a module or reads a certificate.
- Only the parts that the configuration uses are loaded, because every worker pays for the memory.
"""

from __future__ import annotations

from ..access import load_libraries
from ..config import Config, locations_of
from ..errors import ConfigError, Fault
from ..net import load_kinds
from ..tls import upstream_context


def warm_up(config: Config) -> None:
    """Load everything that requests to this configuration use. Raises ConfigError for unusable TLS settings of an upstream."""
    load_kinds()
    for location in locations_of(config):
        if location.guard.auth_basic_user_file is not None:
            load_libraries()
        pass_ = location.proxy.pass_
        if pass_ is not None and pass_.scheme in ("https", "suwsgi") and pass_.template is None:
            try:
                upstream_context(location.proxy.tls)
            except (OSError, ValueError) as error:
                place = pass_.place
                raise ConfigError(Fault(str(error), place.file, place.line) if place else Fault(str(error))) from error
