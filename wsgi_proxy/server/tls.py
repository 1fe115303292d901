"""TLS of the addresses that are bound: one context for each, made of the server blocks that listen there.

Rules:
- Certificates and keys are read when the configuration is, by the process that may read them, and again with each reload.
- A fault (a missing file, a key that does not fit, an unknown cipher) is a ConfigError that names file and line.
"""

from __future__ import annotations

from typing import Any

from .. import tls
from ..config import Config, ServerBlock
from ..errors import ConfigError
from ..tls import faults_of
from .listen import Address, covering, listens_of


def contexts(config: Config) -> dict[Address, Any]:
    """For each bound address with TLS, the context its connections begin with. Raises ConfigError."""
    tls.forget()
    faults = faults_of(config)
    if faults:
        raise ConfigError(*faults)
    bound = listens_of(config)
    by_address: dict[Address, list[tuple[ServerBlock, bool]]] = {}
    for server in config.servers:
        for listen in server.listens:
            address = covering(listen.address, bound)
            if listen.ssl and address is not None:
                by_address.setdefault(address, []).append((server, listen.default_server))
    return {address: tls.listener_context(servers) for address, servers in by_address.items()}
