"""The table of directives, assembled from its subjects, and the way from statements to the model.

`python -m wsgi_proxy.nginx.directives` prints the table as docs/configuration.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ...config import Config, SourceLine
from . import (
    access,
    blocks,
    bodies,
    browsers,
    cache,
    charset,
    cluster,
    core,
    dav,
    filters,
    gateways,
    harmless,
    health,
    keyval,
    limits,
    links,
    listen,
    log,
    otel,
    other_protocols,
    process,
    proxy,
    real_address,
    rewrite,
    static,
    sticky,
    tls,
    tunnel,
    upstream,
    userid,
)
from .advice import warnings_of
from .freezing import freeze
from .reading import Reading, TooManyFaults
from .row import Level, Row, Statement

SUBJECTS: Mapping[str, tuple[Row, ...]] = {
    "Processes": process.ROWS,
    "Blocks": blocks.ROWS,
    "Listeners and names": listen.ROWS,
    "Requests, connections, errors": (*core.ROWS, *browsers.ROWS),
    "Files and headers": (*static.ROWS, *dav.ROWS, *userid.ROWS),
    "Compression": filters.ROWS,
    "Character sets": charset.ROWS,
    "Changes to bodies": bodies.ROWS,
    "Rewriting and variables": (*rewrite.ROWS, *keyval.ROWS),
    "Upstreams": (*upstream.ROWS, *sticky.ROWS),
    "Forwarding": proxy.ROWS,
    "Cache": cache.ROWS,
    "Access and limits": (*access.ROWS, *limits.ROWS, *real_address.ROWS, *links.ROWS),
    "Several machines": cluster.ROWS,
    "TLS": tls.ROWS,
    "Tunnels": tunnel.ROWS,
    "Health checks": health.ROWS,
    "Logs": log.ROWS,
    "Traces": otel.ROWS,
    "FastCGI, uwsgi, SCGI and memcached": gateways.ROWS,
    "Accepted without effect": harmless.ROWS,
    "Other protocols": other_protocols.ROWS,
}


def _table() -> dict[str, tuple[Row, ...]]:
    table: dict[str, tuple[Row, ...]] = {}
    for rows in SUBJECTS.values():
        for row in rows:
            table[row.name] = (*table.get(row.name, ()), row)
    return table


TABLE: Mapping[str, tuple[Row, ...]] = _table()
"""The rows of each directive. A name with different meanings in different blocks has several."""


def build(reading: Reading, statements: Iterable[Statement], complete: bool = True) -> Config:
    """Return the model of a configuration's statements. Faults are added to `reading`, and the model is only valid without any.

    `complete` is False if the text itself is broken, so that parts may be missing.
    """
    main = Level("main", reading)
    try:
        return _build(reading, main, statements, complete)
    except TooManyFaults:
        return Config()


def _build(reading: Reading, main: Level, statements: Iterable[Statement], complete: bool) -> Config:
    reading.walk(main, statements)
    if not complete:
        return _partial(reading, main)
    reading.finish()
    if "events" not in main.seen and not reading.faults:
        reading.fault('no "events" section in configuration', SourceLine(reading.path))
    config = Config()
    if not reading.faults:
        config = freeze(reading, main)
        for message, place in warnings_of(config, main):
            reading.warn(message, place)
        config = replace(config, warnings=tuple(reading.warnings))
    reading.guarded(SourceLine(), reading.names.check)
    return _partial(reading, main) if reading.faults else config


def _partial(reading: Reading, main: Level) -> Config:
    """Return the model of the statements without a fault, for checks of the files that it names.

    A fault that is found here may follow from a missing statement, so it is not reported.
    """
    known = len(reading.faults)
    reading.finish()
    config = freeze(reading, main)
    del reading.faults[known:]
    return config
