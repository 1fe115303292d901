"""Import and make at the start what the first requests would wait for.

Rules:
- A worker is warm before it accepts: its application is made, and no request imports a module or reads certificates.
- Only what the configuration uses is loaded: memory counts in every worker.
"""

from __future__ import annotations

from ..access import load_libraries
from ..config import Config, locations_of
from ..errors import ConfigError, Fault
from ..net import load_kinds
from ..tls import upstream_context


def warm_up(config: Config) -> None:
    """Load what requests to this configuration use. Raises ConfigError for TLS settings towards upstreams that do not work."""
    load_kinds()
    for location in locations_of(config):
        if location.guard.auth_basic_user_file is not None:
            load_libraries()
        pass_ = location.proxy.pass_
        if pass_ is not None and pass_.scheme == "https" and pass_.template is None:
            try:
                upstream_context(location.proxy.tls)
            except (OSError, ValueError) as error:
                place = pass_.place
                raise ConfigError(Fault(str(error), place.file, place.line) if place else Fault(str(error))) from error
