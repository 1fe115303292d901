"""The order of the filters."""

from __future__ import annotations

from wsgi_proxy.config import Location
from wsgi_proxy.filters import compile_filters, table


def test_a_response_passes_gzip_last() -> None:
    names = [compiler.__name__.removeprefix("compile_") for compiler in table.COMPILERS]
    assert names.index("gunzip") < names.index("charset") < names.index("gzip") == len(names) - 1


def test_without_settings_there_is_no_filter() -> None:
    assert compile_filters(Location()) is None
