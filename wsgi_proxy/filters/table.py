"""The filters of the package, in the order in which a response passes them.

Rules:
- The order is that of nginx's chain: userid, gunzip, sub, charset, SSI, brotli, gzip. `add_header` and `expires` come first. A
  range would come last, so a response whose length a filter changes is sent whole (`Filters.whole`).
- The bodies of an addition pass the filters of their locations, so it comes behind the filters that change the page alone.
- A new filter is a module with a function that makes the filter of a location, and a line in COMPILERS.
Source: nginx's auto/modules (HTTP_FILTER modules, of which the last one runs first).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .addition import compile_addition
from .brotli import compile_brotli
from .charset import compile_charset
from .gunzip import compile_gunzip
from .gzip import compile_gzip, compile_vary
from .pipeline import Filter, Filters
from .proxy_status import compile_proxy_status
from .ssi import compile_ssi
from .sub import compile_sub
from .userid import compile_userid

if TYPE_CHECKING:
    from ..config import Location

COMPILERS: tuple[Callable[[Location], Filter | None], ...] = (
    compile_userid,
    compile_proxy_status,
    compile_vary,
    compile_gunzip,
    compile_sub,
    compile_charset,
    compile_ssi,
    compile_addition,
    compile_brotli,
    compile_gzip,
)
"""Functions that return a location's filter, or None if its settings ask for none."""


def compile_filters(location: Location) -> Filters | None:
    """Return the filters of a location; None if its settings ask for none."""
    found = tuple(made for compiler in COMPILERS if (made := compiler(location)) is not None)
    return Filters(found) if found else None
