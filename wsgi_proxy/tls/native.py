"""Settings of OpenSSL that Python's `ssl` does not offer: lists of groups, commands of SSL_CONF_cmd, and ticket keys.

Rules:
- OpenSSL's functions are called through `ctypes` on the library that `ssl` uses. CPython keeps the SSL_CTX pointer of a context
  behind the header of its object. The pointer is trusted only if OpenSSL reports the options that `ssl` reports.
- Where that is impossible (another Python, a library without these symbols), a setting is a ValueError.
Source: OpenSSL, SSL_CONF_cmd(3), SSL_CTX_set1_groups_list(3), SSL_CTX_set_tlsext_ticket_keys(3).
"""

from __future__ import annotations

import ctypes
import hashlib
import ssl
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..config import TLS

_SET_GROUPS_LIST = 92
_SET_TICKET_KEYS = 59
_FILE, _CLIENT, _SERVER, _CERTIFICATE = 0x2, 0x4, 0x8, 0x20


class _Unavailable(ValueError):
    """This Python gives no access to its OpenSSL."""

    def __init__(self) -> None:
        super().__init__("this Python gives no access to its OpenSSL")


def available() -> bool:
    """Return True if the settings of this module can be made."""
    try:
        _pointer(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    except ValueError:
        return False
    return True


def set_groups(context: ssl.SSLContext, names: str) -> None:
    """Set the groups of the key exchange, separated by colons. ValueError for an unknown one."""
    library, pointer = _pointer(context)
    good = library.SSL_CTX_ctrl(pointer, _SET_GROUPS_LIST, 0, names.encode())
    library.ERR_clear_error()
    if good != 1:
        raise ValueError(f'"ssl_ecdh_curve {names}" failed: unknown curve')


def configure(context: ssl.SSLContext, commands: tuple[tuple[str, str], ...], server: bool) -> None:
    """Apply the commands of `ssl_conf_command`. Raise ValueError for one that OpenSSL refuses."""
    if not commands:
        return
    library, pointer = _pointer(context)
    state = library.SSL_CONF_CTX_new()
    try:
        library.SSL_CONF_CTX_set_flags(state, _FILE | _CERTIFICATE | (_SERVER if server else _CLIENT))
        library.SSL_CONF_CTX_set_ssl_ctx(state, pointer)
        for name, value in commands:
            if library.SSL_CONF_cmd(state, name.encode("latin-1"), value.encode("latin-1")) <= 0:
                raise ValueError(f'SSL_CONF_cmd("{name}", "{value}") failed')
        if library.SSL_CONF_CTX_finish(state) != 1:
            raise ValueError("SSL_CONF_finish() failed")
    finally:
        library.SSL_CONF_CTX_free(state)
        library.ERR_clear_error()


def set_unusual(context: Any, tls: TLS) -> None:
    """Set the curves of a pyOpenSSL context. ValueError for an unknown one, and for `ssl_conf_command`, which it cannot apply.

    pyOpenSSL has no public function for a list of curves.
    """
    if tls.ecdh_curve not in ("", "auto"):
        from OpenSSL import SSL

        if vars(SSL)["_lib"].SSL_CTX_set1_curves_list(context._context, tls.ecdh_curve.encode()) != 1:
            raise ValueError(f'"ssl_ecdh_curve {tls.ecdh_curve}" failed: unknown curve')
    if tls.conf_command:
        raise ValueError('"ssl_conf_command" is not supported for an address with "ssl_verify_client"')


def set_ticket_key(context: ssl.SSLContext, paths: tuple[str, ...]) -> None:
    """Encrypt session tickets with the key in the first file. OSError or ValueError for a file that is no key.

    A file of 80 bytes holds a name, an HMAC key and an AES key, as in nginx. Of 48 bytes, for AES-128 in nginx, both keys
    are derived, because OpenSSL sets no others. Proxies with the same file resume each other's sessions.
    """
    keys = [_read_key(path) for path in paths]
    if keys:
        library, pointer = _pointer(context)
        good = library.SSL_CTX_ctrl(pointer, _SET_TICKET_KEYS, len(keys[0]), keys[0])
        library.ERR_clear_error()
        if good != 1:
            raise ValueError(f'"ssl_session_ticket_key {paths[0]}" failed')


def _read_key(path: str) -> bytes:
    data = Path(path).read_bytes()
    if len(data) not in (48, 80):
        raise ValueError(f'"{path}" must be 48 or 80 bytes')
    if len(data) == 80:
        return data
    return data[:16] + hashlib.sha256(b"hmac" + data).digest() + hashlib.sha256(b"aes" + data).digest()


@cache
def _library() -> Any:
    """Return OpenSSL with the types of the functions that are used here. ValueError if there is none."""
    try:
        import _ssl

        library = ctypes.CDLL(_ssl.__file__)
        pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
        functions: dict[str, tuple[Any, list[Any]]] = {
            "SSL_CTX_get_options": (ctypes.c_uint64, [pointer]),
            "SSL_CTX_ctrl": (ctypes.c_long, [pointer, number, ctypes.c_long, text]),
            "SSL_CONF_CTX_new": (pointer, []),
            "SSL_CONF_CTX_set_flags": (ctypes.c_uint, [pointer, ctypes.c_uint]),
            "SSL_CONF_CTX_set_ssl_ctx": (None, [pointer, pointer]),
            "SSL_CONF_cmd": (number, [pointer, text, text]),
            "SSL_CONF_CTX_finish": (number, [pointer]),
            "SSL_CONF_CTX_free": (None, [pointer]),
            "ERR_clear_error": (None, []),
        }
        for name, (result, arguments) in functions.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (ImportError, AttributeError, OSError) as error:
        raise _Unavailable from error
    return library


def _pointer(context: ssl.SSLContext) -> tuple[Any, int]:
    """Return OpenSSL and the address of the context's SSL_CTX."""
    library = _library()
    if sys.implementation.name != "cpython" or type(context).__basicsize__ < object.__basicsize__ + ctypes.sizeof(
        ctypes.c_void_p
    ):
        raise _Unavailable
    address = ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value
    if not address or library.SSL_CTX_get_options(address) & 0xFFFFFFFF != int(context.options) & 0xFFFFFFFF:
        raise _Unavailable
    return library, address
