"""Requests on a client's connection: their heads, bodies and environs."""

from .body import NO_BODY, Body, NoBody, RequestBody
from .environ import REQUEST_KEYS, FileWrapper, field_keys, make_environ
from .head import Request, take_request

__all__ = [
    "NO_BODY",
    "REQUEST_KEYS",
    "Body",
    "FileWrapper",
    "NoBody",
    "Request",
    "RequestBody",
    "field_keys",
    "make_environ",
    "take_request",
]
