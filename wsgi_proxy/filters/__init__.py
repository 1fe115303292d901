"""Filters of responses: they adapt the fields and change the body on its way to the client."""

from .accepting import may_compress as may_compress
from .brotli import accepts_brotli as accepts_brotli
from .brotli import has_brotli as has_brotli
from .pipeline import Filter as Filter
from .pipeline import FilteredBody as FilteredBody
from .pipeline import Filters as Filters
from .pipeline import Transform as Transform
from .table import compile_filters as compile_filters
