"""nginx variables: names, values, `map`, `geo`, regular expressions and secure links."""

from .connection import server_address
from .maps import HostTable, take_captures
from .names import SETTABLE, Names, compile_log, compile_text
from .patterns import compile_regex
from .request import arg as argument
from .request import document_root, filename, server_name
from .userid import user_id

__all__ = [
    "HostTable",
    "Names",
    "SETTABLE",
    "argument",
    "compile_log",
    "compile_regex",
    "compile_text",
    "document_root",
    "filename",
    "maps",
    "server_address",
    "server_name",
    "take_captures",
    "user_id",
]
