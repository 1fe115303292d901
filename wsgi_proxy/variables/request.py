"""nginx's variables of the request, the connection, the time and the location.

Rules:
- A row of `TEXT` or `OPTIONAL` is a Python expression of `x`, an Exchange. `names` compiles it into the templates that use it, so
  that a plain attribute costs a plain attribute. A function named in a row is in this module's namespace, or of another table's.
- `TEXT` rows always give a str. `OPTIONAL` rows give None for nginx's "not found": "-" in a log and "" elsewhere.
- `PREFIXES` make a row of the rest of a name: `$arg_page` is `arg(x, 'page=')`.
- Times and sizes print as in nginx: seconds with three decimals, bytes as integers.
Source: nginx's documentation of ngx_http_core_module, ngx_http_realip_module and its neighbours, "Embedded Variables".
"""

from __future__ import annotations

import os
import socket
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..build import NGINX_VERSION
from ..tracing import identifier
from .clock import clock, now, request_time, seconds, time_iso8601, time_local
from .links import invalid_referer, secure_link, secure_link_expires  # noqa: F401 - named in rows

if TYPE_CHECKING:
    from ..config import CoreSettings
    from ..exchange import Exchange

__all__ = ["NGINX_VERSION", "clock", "identifier", "invalid_referer", "now", "secure_link", "secure_link_expires", "seconds"]
__all__ += ["request_time", "time_iso8601", "time_local"]

TEXT: dict[str, str] = {
    "date_gmt": "clock().date_gmt",
    "date_local": "clock().date_local",
    "document_root": "document_root(x)",
    "document_uri": "x.uri",
    "fastcgi_path_info": "fastcgi_split(x)[1]",
    "fastcgi_script_name": "fastcgi_script_name(x)",
    "host": "x.host",
    "hostname": "HOSTNAME",
    "hour": "clock().hour",
    "https": "('on' if x.scheme == 'https' else '')",
    "is_args": "('?' if x.args else '')",
    "is_request_port": "(':' if request_port(x) else '')",
    "invalid_referer": "invalid_referer(x)",
    "limit_rate": "limit_rate(x)",
    "msec": "seconds(now())",
    "nginx_version": "NGINX_VERSION",
    "pid": "str(getpid())",
    "request": "request_line(x)",
    "http2": "('' if x.protocol[:6] != 'HTTP/2' else 'h2' if x.scheme == 'https' else 'h2c')",
    "request_filename": "filename(x)",
    "request_id": "request_id(x)",
    "request_length": "str(request_length(x))",
    "request_method": "(x.method if x.main is None else x.main.method)",
    "request_port": "request_port(x)",
    "request_time": "request_time(x)",
    "request_uri": "x.target",
    "scheme": "('https' if x.absolute == 'https' else x.scheme)",
    "server_name": "server_name(x)",
    "server_protocol": "x.protocol",
    "time_iso8601": "time_iso8601(x)",
    "time_local": "time_local(x)",
    "uri": "x.uri",
    "weekday": "clock().weekday",
}

OPTIONAL: dict[str, str] = {
    "otel_parent_id": "identifier(x, 'parent')",
    "otel_parent_sampled": "identifier(x, 'parent_sampled')",
    "otel_span_id": "identifier(x, 'span')",
    "otel_trace_id": "identifier(x, 'trace')",
    "args": "(x.args or None)",
    "content_length": "(None if x.body_dropped else x.sent('CONTENT_LENGTH') or main_length(x) or length_read(x))",
    "content_type": "(x.sent('CONTENT_TYPE') or None)",
    "http_content_length": "(x.sent('CONTENT_LENGTH') or main_length(x))",
    "http_content_type": "(x.sent('CONTENT_TYPE') or None)",
    "invalid_referer": "invalid_referer(x)",
    "limit_conn_status": "(x.limit_conn_status or None)",
    "limit_req_status": "(x.limit_req_status or None)",
    "query_string": "(x.args or None)",
    "realpath_root": "realpath_root(x)",
    "remote_user": "remote_user(x)",
    "request_body": "request_body(x)",
    "request_body_file": "(x.request_body_file or None)",
    "slice_range": "(x.slice_range or None)",
    "secure_link": "(secure_link(x) or None)",
    "secure_link_expires": "(secure_link_expires(x) or None)",
}

PREFIXES: dict[str, Callable[[str], str]] = {
    "arg_": lambda rest: f"arg(x, {rest + '='!r})" if rest else "None",
    "cookie_": lambda rest: f"cookie(x, {rest!r})",
    "http_": lambda rest: f"(http_field(x, {rest!r}) if x.underscored else x.sent({'HTTP_' + rest.upper()!r}))",
}

getpid = os.getpid
HOSTNAME = socket.gethostname().lower()

# --- the request ------------------------------------------------------------------------------------------------------------


def http_field(exchange: Exchange, name: str) -> str | None:
    """Return the request's fields of this name (lower case, underscores), those whose names have underscores included."""
    found = [value for key, value in exchange.pairs if key.lower().replace("-", "_") == name]
    if not found:
        return None
    return ("; " if name == "cookie" else ", ").join(found)


def remote_user(exchange: Exchange) -> str | None:
    """Return the user that was checked, else that of an `Authorization: Basic` field."""
    if exchange.remote_user:
        return exchange.remote_user
    authorization = exchange.sent("HTTP_AUTHORIZATION")
    return None if authorization is None else basic_user(authorization)


def basic_user(authorization: str) -> str | None:
    """Return the user of an `Authorization: Basic` field, whether or not the password was checked."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, _ = b64decode(credentials.strip()).decode("latin-1").partition(":")
    except (NotBase64, ValueError):
        return None
    return (user if colon else None) or None


def request_line(exchange: Exchange) -> str:
    """Return the client's request line, whose method `error_page` and a subrequest do not change."""
    sent = exchange if exchange.main is None else exchange.main
    return f"{sent.sent_method()} {exchange.raw_target} {exchange.protocol}"


def length_read(exchange: Exchange) -> str | None:
    """Return the length of a chunked body that was read to its end, for an upstream that needs it; None of any other."""
    upload = exchange.upload
    return str(upload.length) if upload is not None and upload.length is not None and exchange.chunked else None


def fastcgi_split(exchange: Exchange) -> tuple[str, str]:
    """Return the URI's script and path information by `fastcgi_split_path_info`; (URI, "") if it does not match."""
    location = exchange.location_or_none
    regex = None if location is None else location.fastcgi.split_path_info
    found = None if regex is None else regex.search(exchange.uri)
    return (exchange.uri, "") if found is None else (found[1] or "", found[2] or "")


def fastcgi_script_name(exchange: Exchange) -> str:
    """Return the script's part of the URI, with `fastcgi_index` behind a final slash."""
    name = fastcgi_split(exchange)[0]
    return name + exchange.location.fastcgi.index if name.endswith("/") and exchange.location_or_none is not None else name


def arg(exchange: Exchange, key: str) -> str | None:
    """Return the first query argument with this name (lower case, with its "="), not decoded. Names match in any case."""
    args = exchange.args
    if not args:
        return None
    folded = args.lower()
    at = folded.find(key)
    while at >= 0:
        if at == 0 or folded[at - 1] == "&":
            start = at + len(key)
            end = args.find("&", start)
            return args[start:] if end < 0 else args[start:end]
        at = folded.find(key, at + 1)
    return None


def cookie(exchange: Exchange, name: str) -> str | None:
    """Return the cookie of this name, in any case."""
    text = exchange.sent("HTTP_COOKIE")
    return find_cookie(text, name) if text else None


def find_cookie(text: str, name: str) -> str | None:
    """Return the value of `name` (lower case) in a Cookie or Set-Cookie field. Names match in any case."""
    for part in text.split(";"):
        part = part.lstrip(" ")
        if part[: len(name)].lower() == name:
            value = part[len(name) :].lstrip(" ")
            if value[:1] == "=":
                return value[1:].lstrip(" ")
    return None


def main_length(exchange: Exchange) -> str | None:
    """Return the Content-Length of the client's request in a subrequest, which has no body itself."""
    length: str | None = None if exchange.main is None else exchange.main.environ.get("CONTENT_LENGTH")
    return length or None


def request_port(exchange: Exchange) -> str:
    """Return the port in the request's Host; without one, the default port of an https URL that a forward proxy is asked for."""
    _, colon, port = (exchange.sent("HTTP_HOST") or "").rpartition(":")
    return port if colon and port.isdigit() else "443" if exchange.absolute == "https" else ""


def request_body(exchange: Exchange) -> str | None:
    """Return the body if it was read into memory; a streamed one (`proxy_request_buffering off`) once it was read to its end."""
    body = exchange.request_body
    if body is None and exchange.upload is not None:
        body = exchange.upload.remembered
    return None if body is None else body.decode("latin-1")


def request_length(exchange: Exchange) -> int:
    """Return the bytes of the request line, the fields and the body as far as its length is known."""
    head: int = getattr(exchange.connection, "head_length", 0)
    if not head:
        head = len(exchange.method) + len(exchange.raw_target) + len(exchange.protocol) + 6
        head += sum(len(name) + len(value) + 4 for name, value in exchange.pairs)
    return head + (exchange.body_bytes_received or exchange.content_length or 0)


def request_id(exchange: Exchange) -> str:
    """Return 32 random hexadecimal digits, the same during the whole exchange."""
    value = exchange.request_id_value
    if not value:
        value = exchange.request_id_value = os.urandom(16).hex()
    return value


# --- the server and the location --------------------------------------------------------------------------------------------


def server_name(exchange: Exchange) -> str:
    """Return the first name of the server block, without a leading dot."""
    names = exchange.server.names
    return names[0].removeprefix(".") if names else ""


def document_root(exchange: Exchange) -> str:
    """Return `root` or `alias` of the location in force, as an absolute path."""
    core = exchange.location.core
    template = core.alias or core.root
    path = "html" if template is None else template(exchange)
    return path if path[:1] == "/" else os.path.join(exchange.prefix, path)


def realpath_root(exchange: Exchange) -> str | None:
    try:
        return os.path.realpath(document_root(exchange), strict=True)
    except OSError:
        return None


def filename(exchange: Exchange) -> str:
    """Return the path of the file for the URI under `root` or `alias`.

    `alias` replaces the prefix of its location; in a location given by a regular expression it is the whole path, which a
    candidate of `try_files` may follow.
    """
    core: CoreSettings = exchange.location.core
    if core.alias is None:
        return document_root(exchange) + exchange.uri
    if core.alias_cut < 0:
        return document_root(exchange) + (exchange.uri if exchange.behind_alias else "")
    return document_root(exchange) + exchange.uri[core.alias_cut :]


def limit_rate(exchange: Exchange) -> str:
    if exchange.limit_rate is not None:
        return str(exchange.limit_rate)
    template = exchange.location.core.limit_rate
    return "0" if template is None else template(exchange)
