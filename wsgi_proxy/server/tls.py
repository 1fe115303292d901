"""The TLS contexts of the bound addresses, each made from the server blocks that listen there.

Rules:
- The main process reads certificates and keys together with the configuration, at the start and at each reload.
- A fault (a missing file, a key for another certificate, an unknown cipher) is a ConfigError with file and line.
"""

from __future__ import annotations

from typing import Any

from .. import tls
from ..config import Config, ServerBlock
from ..errors import ConfigError
from ..tls import faults_of
from .listen import Address, covering, listens_of


def contexts(config: Config) -> dict[Address, Any]:
    """Return the initial TLS context of each bound address with TLS. Raises ConfigError."""
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
