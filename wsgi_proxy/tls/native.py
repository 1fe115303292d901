"""Settings of OpenSSL that Python's `ssl` does not offer: lists of groups, and commands of SSL_CONF_cmd.

Rules:
- OpenSSL's functions are called through `ctypes` on the library that `ssl` uses. CPython keeps the SSL_CTX pointer of a context
  behind the header of its object. The pointer is trusted only if OpenSSL reports the options that `ssl` reports.
- Where that is impossible (another Python, a library without these symbols), a setting is a ValueError.
Source: OpenSSL, SSL_CONF_cmd(3), SSL_CTX_set1_groups_list(3).
"""

from __future__ import annotations

import ctypes
import ssl
import sys
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..config import TLS

_SET_GROUPS_LIST = 92
_FILE, _CLIENT, _SERVER, _CERTIFICATE = 0x2, 0x4, 0x8, 0x20


class _Unavailable(ValueError):
    """This Python gives no access to its OpenSSL."""

    def __init__(self) -> None:
        super().__init__("this Python gives no access to its OpenSSL")


def available() -> bool:
    """Return True if the settings of this module can be made."""
    try:
        openssl(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    except ValueError:
        return False
    return True


def set_groups(context: ssl.SSLContext, names: str) -> None:
    """Set the groups of the key exchange, separated by colons. ValueError for an unknown one without a question mark."""
    library, pointer = openssl(context)
    _set_known(names, lambda text: bool(library.SSL_CTX_ctrl(pointer, _SET_GROUPS_LIST, 0, text.encode()) == 1))
    library.ERR_clear_error()


def _set_known(names: str, accept: Callable[[str], bool]) -> None:
    """Set a list of groups by `accept`, without those of the form `?name` that OpenSSL does not know (since OpenSSL 3.3)."""
    if accept(names):
        return
    known = [name.removeprefix("?") for name in names.split(":") if not name.startswith("?") or accept(name[1:])]
    if "?" not in names or not accept(":".join(known)):
        raise ValueError(f'"ssl_ecdh_curve {names}" failed: unknown curve')


def set_timeout(context: ssl.SSLContext, seconds: float) -> None:
    """Set the time after which a session is not resumed. OpenSSL's own is two hours."""
    library, pointer = openssl(context)
    library.SSL_CTX_set_timeout(pointer, max(1, int(seconds)))


def configure(context: ssl.SSLContext, commands: tuple[tuple[str, str], ...], server: bool) -> None:
    """Apply the commands of `ssl_conf_command`. Raise ValueError for one that OpenSSL refuses."""
    if not commands:
        return
    library, pointer = openssl(context)
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

        library = vars(SSL)["_lib"]
        _set_known(tls.ecdh_curve, lambda text: bool(library.SSL_CTX_set1_curves_list(context._context, text.encode()) == 1))
    if tls.conf_command:
        raise ValueError('"ssl_conf_command" is not supported for an address with "ssl_verify_client"')


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
            "SSL_CTX_set_timeout": (ctypes.c_long, [pointer, ctypes.c_long]),
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


def openssl(context: ssl.SSLContext) -> tuple[Any, int]:
    """Return OpenSSL and the address of the context's SSL_CTX. ValueError if this Python gives no access to them."""
    library = _library()
    if sys.implementation.name != "cpython" or type(context).__basicsize__ < object.__basicsize__ + ctypes.sizeof(
        ctypes.c_void_p
    ):
        raise _Unavailable
    address = ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value
    if not address or library.SSL_CTX_get_options(address) & 0xFFFFFFFF != int(context.options) & 0xFFFFFFFF:
        raise _Unavailable
    return library, address
