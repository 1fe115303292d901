"""The one table of directives, assembled from its subjects, and the way from statements to the model.

`python -m wsgi_proxy.nginx.directives` prints it as docs/configuration.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ...config import Config, SourceLine
from . import blocks, cache, core, guard, harmless, health, listen, log, process, proxy, rewrite, static, tls, tunnel, upstream
from .advice import oddities
from .freezing import freeze
from .reading import Reading, TooManyFaults
from .row import Level, Row, Statement

SUBJECTS: Mapping[str, tuple[Row, ...]] = {
    "Processes": process.ROWS,
    "Blocks": blocks.ROWS,
    "Listeners and names": listen.ROWS,
    "Requests, connections, errors": core.ROWS,
    "Files and headers": static.ROWS,
    "Rewriting and variables": rewrite.ROWS,
    "Upstreams": upstream.ROWS,
    "Forwarding": proxy.ROWS,
    "Cache": cache.ROWS,
    "Access and limits": guard.ROWS,
    "TLS": tls.ROWS,
    "Tunnels": tunnel.ROWS,
    "Health checks": health.ROWS,
    "Logs": log.ROWS,
    "Accepted without effect": harmless.ROWS,
}


def _table() -> dict[str, tuple[Row, ...]]:
    table: dict[str, tuple[Row, ...]] = {}
    for rows in SUBJECTS.values():
        for row in rows:
            table[row.name] = (*table.get(row.name, ()), row)
    return table


TABLE: Mapping[str, tuple[Row, ...]] = _table()
"""Each directive's rows: more than one where a name means different things in different blocks."""


def build(reading: Reading, statements: Iterable[Statement], complete: bool = True) -> Config:
    """The model of a configuration's statements. Faults are noted in `reading`; the model is worth nothing when there are any.

    `complete` is False when the text itself is broken: what may be missing is then not asked for.
    """
    main = Level("main", reading)
    try:
        return _build(reading, main, statements, complete)
    except TooManyFaults:
        return Config()


def _build(reading: Reading, main: Level, statements: Iterable[Statement], complete: bool) -> Config:
    reading.walk(main, statements)
    if not complete:
        return Config()
    reading.finish()
    if "events" not in main.seen and not reading.faults:
        reading.fault('no "events" section in configuration', SourceLine(reading.path))
    config = Config()
    if not reading.faults:
        config = freeze(reading, main)
        for sentence, place in oddities(config):
            reading.warn(sentence, place)
        config = replace(config, warnings=tuple(reading.warnings))
    reading.guarded(SourceLine(), reading.names.check)
    return config
