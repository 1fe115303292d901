"""The keys of session tickets (`ssl_session_ticket_key`).

Rules:
- The first key encrypts, and each of them decrypts, so that keys can be rotated. A key file is nginx's: 80 bytes are a name, an
  HMAC key and an AES-256 key, 48 bytes a name, an AES-128 key and an HMAC key.
- One key of 80 bytes is given to OpenSSL. Several keys, and one of 48 bytes, need a callback for each ticket, which OpenSSL has
  since version 3.
- A session of TLS 1.3 gets a new ticket each time it is resumed (RFC 8446, appendix C.4), as in nginx.
Source: OpenSSL, SSL_CTX_set_tlsext_ticket_key_evp_cb(3), SSL_CTX_set_tlsext_ticket_keys(3), EVP_MAC-HMAC(7).
"""

from __future__ import annotations

import ctypes
import os
import ssl
from pathlib import Path
from typing import Any

from .native import openssl

_SET_TICKET_KEYS = 59
_TLS13 = 0x0304
_NAME, _IV = 16, 16
_UTF8, _OCTETS = 4, 5
"""Types of parameters (OSSL_PARAM(3))."""
_UNKNOWN, _GOOD, _RENEW = 0, 1, 2
"""Results of the callback."""
_FAILED = -1


class _Parameter(ctypes.Structure):
    """An OSSL_PARAM; one of zeros ends an array."""

    _fields_ = (
        ("key", ctypes.c_char_p),
        ("data_type", ctypes.c_uint),
        ("data", ctypes.c_char_p),
        ("data_size", ctypes.c_size_t),
        ("return_size", ctypes.c_size_t),
    )


_POINTER = ctypes.c_void_p
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER, _POINTER, _POINTER, _POINTER, ctypes.c_int)


class _Key:
    """One key: its name, its cipher, and the parameters of its HMAC with SHA-256."""

    def __init__(self, library: Any, data: bytes) -> None:
        self.name = data[:_NAME]
        if len(data) == 48:
            self.cipher, self.aes, secret = library.EVP_aes_128_cbc(), data[16:32], data[32:]
        else:
            self.cipher, self.aes, secret = library.EVP_aes_256_cbc(), data[48:], data[16:48]
        self.parameters = (_Parameter * 3)(
            _Parameter(b"key", _OCTETS, secret, len(secret)), _Parameter(b"digest", _UTF8, b"SHA256", 6), _Parameter()
        )


class _Keys:
    """The keys of a context, as the callback for its tickets."""

    def __init__(self, library: Any, keys: list[bytes]) -> None:
        self._library = library
        self._keys = [_Key(library, data) for data in keys]

    def __call__(self, connection: int, name: int, iv: int, cipher: int, mac: int, encrypts: int) -> int:
        """Set the cipher and the HMAC of a ticket. OpenSSL gives addresses; `name` and `iv` are read or written."""
        library = self._library
        if encrypts:
            key = self._keys[0]
            ctypes.memmove(iv, os.urandom(_IV), _IV)
            ctypes.memmove(name, key.name, _NAME)
            good = library.EVP_EncryptInit_ex(cipher, key.cipher, None, key.aes, iv)
            return _GOOD if good == 1 and library.EVP_MAC_CTX_set_params(mac, key.parameters) == 1 else _FAILED
        asked = ctypes.string_at(name, _NAME)
        found = next((key for key in self._keys if key.name == asked), None)
        if found is None:
            return _UNKNOWN
        good = library.EVP_DecryptInit_ex(cipher, found.cipher, None, found.aes, iv)
        if good != 1 or library.EVP_MAC_CTX_set_params(mac, found.parameters) != 1:
            return _FAILED
        return _RENEW if library.SSL_version(connection) == _TLS13 else _GOOD


def set_ticket_keys(context: ssl.SSLContext, paths: tuple[str, ...]) -> None:
    """Encrypt session tickets with the first key, and accept those of each. OSError or ValueError for a file that is no key."""
    keys = [_read_key(path) for path in paths]
    if not keys:
        return
    library, pointer = openssl(context)
    if len(keys) == 1 and len(keys[0]) == 80:
        good = library.SSL_CTX_ctrl(pointer, _SET_TICKET_KEYS, len(keys[0]), keys[0])
    else:
        callback = _CALLBACK(_Keys(_with_tickets(library), keys))
        good = library.SSL_CTX_set_tlsext_ticket_key_evp_cb(pointer, callback)
        # OpenSSL keeps only the address.
        context.ticket_keys = callback  # type: ignore[attr-defined]
    library.ERR_clear_error()
    if good != 1:
        raise ValueError(f'"ssl_session_ticket_key {paths[0]}" failed')


def _read_key(path: str) -> bytes:
    data = Path(path).read_bytes()
    if len(data) not in (48, 80):
        raise ValueError(f'"{path}" must be 48 or 80 bytes')
    return data


def _with_tickets(library: Any) -> Any:
    """Return OpenSSL with the types of the callback's functions. ValueError before version 3."""
    number = ctypes.c_int
    functions: dict[str, tuple[Any, list[Any]]] = {
        "EVP_aes_128_cbc": (_POINTER, []),
        "EVP_aes_256_cbc": (_POINTER, []),
        "EVP_EncryptInit_ex": (number, [_POINTER, _POINTER, _POINTER, ctypes.c_char_p, _POINTER]),
        "EVP_DecryptInit_ex": (number, [_POINTER, _POINTER, _POINTER, ctypes.c_char_p, _POINTER]),
        "EVP_MAC_CTX_set_params": (number, [_POINTER, ctypes.POINTER(_Parameter)]),
        "SSL_version": (number, [_POINTER]),
        "SSL_CTX_set_tlsext_ticket_key_evp_cb": (number, [_POINTER, _CALLBACK]),
    }
    try:
        for name, (result, arguments) in functions.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        raise ValueError('several "ssl_session_ticket_key", or one of 48 bytes, need OpenSSL 3') from error
    return library
