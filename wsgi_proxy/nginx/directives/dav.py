"""ngx_http_dav_module: PUT, DELETE, MKCOL, COPY and MOVE of files."""

from __future__ import annotations

from . import values
from .proxy import file_access
from .row import ALL, BadValue, Level, Row, value

_METHODS = ("put", "delete", "mkcol", "copy", "move")


def _methods(level: Level, args: list[str]) -> frozenset[str]:
    for arg in args:
        if arg.lower() not in _METHODS and arg.lower() != "off":
            raise BadValue(f'invalid value "{arg}"')
    found = frozenset(arg.upper() for arg in args)
    return frozenset() if "OFF" in found else found


ROWS: tuple[Row, ...] = (
    value("dav_methods", ALL, "1MORE", "dav.methods", _methods),
    value("dav_access", ALL, "TAKE123", "dav.access", file_access),
    value("create_full_put_path", ALL, "FLAG", "dav.create_full_put_path", values.flag("create_full_put_path")),
    value("min_delete_depth", ALL, "TAKE1", "dav.min_delete_depth", values.number),
)
