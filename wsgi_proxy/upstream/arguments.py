"""The arguments of a Pool, judged before anything is made of them. ConfigError with the argument's name.

Rules (arguments.py has the ones for single values):
- Pool itself is compiled, and its annotations would be enforced with a TypeError: the argument types are judged here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from .. import config
from ..config import arguments
from ..errors import ConfigError, Fault

_OPTIONS: dict[str, tuple[str, ...]] = {
    "round_robin": (),
    "least_conn": (),
    "ip_hash": (),
    "hash": ("consistent",),
    "random": ("two", "least_conn", "least_time=header", "least_time=last_byte"),
    "least_time": ("header", "last_byte", "inflight"),
}
"""The options of each balancing method (ngx_http_upstream_module)."""


def servers(given: object) -> tuple[config.Server, ...]:
    """The servers of a pool, addresses made into `Server`s."""
    if isinstance(given, str | bytes | os.PathLike) or not isinstance(given, Iterable):
        raise arguments.wrong("servers", "a list of servers and addresses is wanted", given)
    made: list[config.Server] = []
    for each in given:
        if isinstance(each, str):
            each = config.Server(each)
        elif not isinstance(each, config.Server):
            raise arguments.wrong("servers", "a Server or an address is wanted in the list", each)
        made.append(each)
    return tuple(made)


def check(
    policy: object, name: object, sticky: object, queue: object, queue_timeout: object, health_check: object, shared_turns: object
) -> None:
    """Judge the options that need nothing else to be judged."""
    if not isinstance(policy, str | config.Policy) and not callable(getattr(policy, "pick", policy)):
        raise arguments.wrong("policy", "a name, a function or an object with a method `pick` is wanted", policy)
    if isinstance(policy, config.Policy) and policy.name in _OPTIONS:
        for option in policy.options:
            if option not in _OPTIONS[policy.name]:
                raise arguments.wrong("policy: options", f"one of {', '.join(_OPTIONS[policy.name]) or 'none'} is wanted", option)
    arguments.text(name, "name")
    if sticky is not None:
        arguments.instance(sticky, config.Sticky, "sticky")
    arguments.count(queue, "queue")
    arguments.seconds(queue_timeout, "queue_timeout")
    arguments.flag(shared_turns, "shared_turns")
    if health_check is not None:
        settings: config.HealthCheck = arguments.instance(health_check, config.HealthCheck, "health_check")
        if settings.match:
            raise ConfigError(Fault('health_check: "match" names a block of an nginx.conf, which a Pool does not have'))


def tls(verify: Any, ssl_context: Any, needed: bool) -> config.UpstreamTLS:
    """The verification of a pool's https servers; `needed` is True where it has any."""
    if not needed and verify is True and ssl_context is None:
        return config.UpstreamTLS(server_name=True, by_server=True)
    context = arguments.client_context(verify, ssl_context)
    return config.UpstreamTLS(server_name=True, by_server=True, context=context)
