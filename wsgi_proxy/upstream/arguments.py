"""Checks of the arguments of a Pool. A wrong one raises ConfigError with its name.

Rules (config/arguments.py has those for single values):
- Pool is compiled, and its annotations would be enforced by a TypeError. The types are checked here instead, before they are
  used.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from .. import config
from ..balance import POLICIES, conflicts
from ..config import arguments
from ..errors import ConfigError, Fault


def servers(given: object) -> tuple[config.Server, ...]:
    """Return the servers of a pool, with a `Server` for each address."""
    if isinstance(given, str | bytes | os.PathLike) or not isinstance(given, Iterable):
        raise arguments.wrong("servers", "a list of servers and addresses is wanted", given)
    made: list[config.Server] = []
    for each in given:
        if isinstance(each, str):
            each = config.Server(each)
        elif not isinstance(each, config.Server):
            raise arguments.wrong("servers", "a Server or an address is wanted in the list", each)
        made.append(each)
    if not made:
        raise ConfigError(Fault("servers: at least one server is wanted, not an empty list"))
    return tuple(made)


def check(
    policy: object, name: object, sticky: object, queue: object, queue_timeout: object, health_check: object, shared_turns: object
) -> None:
    """Check the options that can be checked by themselves."""
    if not isinstance(policy, str | config.Policy) and not callable(getattr(policy, "pick", policy)):
        raise arguments.wrong("policy", "a name, a function or an object with a method `pick` is wanted", policy)
    if isinstance(policy, config.Policy) and policy.name in POLICIES:
        options = POLICIES[policy.name].options
        for option in policy.options:
            if option not in options:
                raise arguments.wrong("policy: options", f"one of {', '.join(options) or 'none'} is wanted", option)
    arguments.text(name, "name")
    if sticky is not None and not isinstance(sticky, config.StickyRoute | config.StickyLearn):
        arguments.instance(sticky, config.Sticky, "sticky")
    arguments.count(queue, "queue")
    arguments.seconds(queue_timeout, "queue_timeout")
    arguments.flag(shared_turns, "shared_turns")
    if health_check is not None:
        settings: config.HealthCheck = arguments.instance(health_check, config.HealthCheck, "health_check")
        if settings.match:
            raise ConfigError(Fault('health_check: "match" names a block of an nginx.conf, which a Pool does not have'))


def check_together(servers: Sequence[config.Server], policy: Any, name: str) -> None:
    """Raise ConfigError, with nginx's messages, if the servers and the policy do not go together."""
    if all(server.backup for server in servers):
        raise ConfigError(Fault(f'no servers are inside upstream "{name}"'))
    faults = [Fault(text, server.place.file, server.place.line) for text, server in conflicts(policy, servers)]
    if faults:
        raise ConfigError(*faults)


def tls(verify: Any, ssl_context: Any, needed: bool) -> config.UpstreamTLS:
    """Return the TLS settings for a pool's https servers. `needed` is True if it has any."""
    if not needed and verify is True and ssl_context is None:
        return config.UpstreamTLS(server_name=True, by_server=True)
    context = arguments.client_context(verify, ssl_context)
    return config.UpstreamTLS(server_name=True, by_server=True, context=context)
