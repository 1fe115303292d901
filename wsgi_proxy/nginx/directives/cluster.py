"""The Redis that several machines share (`wsgi_proxy_cluster`)."""

from __future__ import annotations

import re
from typing import Any

from ...cluster import Address
from ...config import Cluster
from . import values
from .row import Bad, BadValue, Level, Row, Statement, needs_package, special

_ADDRESS = re.compile(r"rediss?(\+sentinel|\+cluster)?://[^/]|unix://")


def _cluster(level: Level, statement: Statement) -> None:
    address, *parameters = statement.args
    if level.reading.cluster is not None:
        raise BadValue("is duplicate")
    if not _ADDRESS.match(address):
        raise Bad(f'invalid address "{address}" in "wsgi_proxy_cluster": redis://, rediss:// or unix:// is expected')
    needs_package("redis", statement.name, address)
    try:
        Address(address)
    except OSError as error:
        raise Bad(f'{error} in "wsgi_proxy_cluster"') from None
    settings: dict[str, Any] = {}
    for parameter in parameters:
        key, _, rest = parameter.partition("=")
        if key == "name" and re.fullmatch(r"[A-Za-z0-9_.-]+", rest):
            settings["name"] = rest
        elif key == "timeout" and values.parse_time(rest):
            settings["timeout"] = values.parse_time(rest)
        else:
            raise Bad(f'invalid parameter "{parameter}"')
    level.reading.cluster = Cluster(address, place=statement.place, **settings)


def require(level: Level, statement: Statement) -> None:
    """Add a fault, once the file is read, if a zone with `sync` has no cluster."""

    def known() -> None:
        if level.reading.cluster is None:
            raise Bad(f'"sync" of "{statement.name}" needs "wsgi_proxy_cluster"')

    level.reading.later(statement.place, known)


ROWS: tuple[Row, ...] = (special("wsgi_proxy_cluster", "http", "TAKE123", _cluster),)
