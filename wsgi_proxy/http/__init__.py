"""HTTP messages: heads, fields, framing, targets, dates and standard pages. No module here opens a socket."""

from .cookies import with_flags
from .dates import MONTHS, WEEKDAYS, format_cookie_date, format_date, parse_date
from .environ import agreed_pairs, agreed_target, client_options, field_values, pairs_of
from .environ_checks import check_fields, check_target, framed_body
from .framing import LAST_CHUNK, NOT_IN_TRAILERS, ChunkedDecoder, Decoder, LengthDecoder, encode_end, parse_trailers
from .head_rules import HeadRules, environ_key
from .headers import HOP_BY_HOP, first, listed
from .pages import page, shown_status, status_line
from .ranges import NOT_SATISFIABLE, byteranges, parse_ranges
from .request import RequestHead, check_partial_request, parse_request_head, refused_host, take_request_lines, with_unique
from .request_lines import FieldLine
from .response import ResponseHead, check_partial_response, end_of_response_head, parse_response_head, take_response_head
from .syntax import METHOD, UNIQUE, Pairs, length_of, single_line, tokens
from .uri import (
    absolute_form,
    bare_host,
    behind,
    check_host,
    escape,
    escape_args,
    file_name,
    normalise,
    printable,
    resolved,
    split_unsafe,
)

__all__ = [
    "ChunkedDecoder",
    "Decoder",
    "FieldLine",
    "HOP_BY_HOP",
    "HeadRules",
    "LAST_CHUNK",
    "LengthDecoder",
    "METHOD",
    "MONTHS",
    "NOT_IN_TRAILERS",
    "NOT_SATISFIABLE",
    "Pairs",
    "RequestHead",
    "ResponseHead",
    "UNIQUE",
    "WEEKDAYS",
    "absolute_form",
    "agreed_pairs",
    "agreed_target",
    "bare_host",
    "behind",
    "byteranges",
    "check_fields",
    "check_host",
    "check_partial_request",
    "check_partial_response",
    "check_target",
    "client_options",
    "encode_end",
    "end_of_response_head",
    "environ_key",
    "escape",
    "escape_args",
    "field_values",
    "file_name",
    "first",
    "format_cookie_date",
    "format_date",
    "framed_body",
    "headers",
    "length_of",
    "listed",
    "normalise",
    "page",
    "pages",
    "pairs_of",
    "parse_date",
    "parse_ranges",
    "parse_request_head",
    "parse_response_head",
    "parse_trailers",
    "printable",
    "refused_host",
    "resolved",
    "shown_status",
    "single_line",
    "split_unsafe",
    "status_line",
    "take_request_lines",
    "take_response_head",
    "tokens",
    "uri",
    "with_flags",
    "with_unique",
]
