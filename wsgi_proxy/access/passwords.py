"""Password files as htpasswd writes them, and whether a password fits a hash.

Rules:
- Schemes: {PLAIN}, {SHA}, {SSHA}, $apr1$ here; everything else (bcrypt, DES, $1$, $5$, $6$, $y$) by the system's crypt(3),
  as in nginx. Where that has no bcrypt, the package of this name serves if it is installed.
- A hash that nobody understands fits no password.
- A slow hash is computed once per password: that it fitted is remembered under a keyed digest, never the password. Under
  gevent it is computed in a thread, so that other connections go on meanwhile.
- The file is read again when it changed; the first line of a user counts.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import hashlib
import hmac
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

_REMEMBERED = 1024
_ITOA64 = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CRYPT_DATA = 256 * 1024
"""More than any C library's struct crypt_data."""


class PasswordFile:
    """A file of `user:hash[:comment]` lines; one object may serve any number of requests at once."""

    __slots__ = ("_fits", "_seen", "_secret", "_users", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._users: dict[str, str] = {}
        self._secret = os.urandom(32)
        self._fits: dict[bytes, None] = {}

    def hash_of(self, user: str) -> str | None:
        """The user's hash, None when there is no such user. OSError when the file cannot be read."""
        status = os.stat(self.path)
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        if seen != self._seen:
            self._users = read_users(self.path)
            self._seen = seen
        return self._users.get(user)

    def fits(self, user: str, password: str, hashed: str) -> bool:
        """Whether the password is the one behind the user's hash."""
        text = b"\0".join(part.encode("latin-1") for part in (user, hashed, password))
        key = hashlib.blake2b(text, key=self._secret, digest_size=16).digest()
        if key in self._fits:
            return True
        if not aside(verify, password.encode("latin-1"), hashed.encode("latin-1")):
            return False
        if len(self._fits) >= _REMEMBERED:
            self._fits.pop(next(iter(self._fits)), None)
        self._fits[key] = None
        return True


def read_users(path: str) -> dict[str, str]:
    """{user: hash} of a password file; lines that begin with # and lines without a colon say nothing."""
    users: dict[str, str] = {}
    with open(path, encoding="latin-1", newline="") as file:
        for line in file.read().split("\n"):
            user, colon, rest = line.rstrip("\r").partition(":")
            if colon and user and not user.startswith("#"):
                users.setdefault(user, rest.partition(":")[0])
    return users


def aside(function: Callable[[bytes, bytes], bool], password: bytes, hashed: bytes) -> bool:
    """Call it; in a thread of gevent's when this is a greenlet and the hash is a slow one."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not hashed.startswith(b"$") or not monkey.is_module_patched("threading"):
        return function(password, hashed)
    from gevent import get_hub

    fits: bool = get_hub().threadpool.apply(function, (password, hashed))
    return fits


def verify(password: bytes, hashed: bytes) -> bool:
    """Whether `password` fits `hashed`; False for a hash of no known form."""
    for prefix, check in _SCHEMES.items():
        if hashed.startswith(prefix):
            return check(password, hashed[len(prefix) :])
    made = crypt(password, hashed)
    return made is not None and hmac.compare_digest(made, hashed)


def _plain(password: bytes, rest: bytes) -> bool:
    return hmac.compare_digest(password, rest)


def _salted_sha1(password: bytes, rest: bytes) -> bool:
    """{SHA} and {SSHA} (RFC 2307): base64 of the SHA-1 of password and salt, and the salt."""
    try:
        data = base64.b64decode(rest, validate=True)
    except binascii.Error:
        return False
    digest, salt = data[:20], data[20:]
    made = hashlib.sha1(password + salt, usedforsecurity=False).digest()
    return len(digest) == 20 and hmac.compare_digest(made, digest)


def _apr1(password: bytes, rest: bytes) -> bool:
    salt, dollar, _ = rest.partition(b"$")
    return bool(dollar) and hmac.compare_digest(apr1(password, salt[:8]), b"$apr1$" + rest)


_SCHEMES: dict[bytes, Callable[[bytes, bytes], bool]] = {
    b"{PLAIN}": _plain,
    b"{SHA}": _salted_sha1,
    b"{SSHA}": _salted_sha1,
    b"$apr1$": _apr1,
}


def apr1(password: bytes, salt: bytes) -> bytes:
    """Apache's MD5 crypt with its thousand rounds, `$apr1$salt$…`."""
    inner = _md5(password + salt + password)
    text = password + b"$apr1$" + salt + (inner * (len(password) // 16 + 1))[: len(password)]
    length = len(password)
    while length:
        text += b"\0" if length & 1 else password[:1]
        length >>= 1
    digest = _md5(text)
    for turn in range(1000):
        text = password if turn & 1 else digest
        text += salt if turn % 3 else b""
        text += password if turn % 7 else b""
        digest = _md5(text + (digest if turn & 1 else password))
    groups = [digest[at] << 16 | digest[at + 6] << 8 | digest[at + 12 if at < 4 else 5] for at in range(5)]
    out = b"".join(_base64ish(group, 4) for group in groups) + _base64ish(digest[11], 2)
    return b"$apr1$" + salt + b"$" + out


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _base64ish(value: int, count: int) -> bytes:
    return bytes(_ITOA64[value >> shift & 63] for shift in range(0, 6 * count, 6))


def crypt(password: bytes, setting: bytes) -> bytes | None:
    """crypt(3) in the thread-safe form; None when no library here knows the setting."""
    function = _crypt_r()
    if function is not None and b"\0" not in password:
        # A buffer of its own for each call: the library keeps its state there, and it must begin with zeros.
        data = ctypes.create_string_buffer(_CRYPT_DATA)
        made: bytes | None = function(password, setting, data)
        if made and not made.startswith(b"*"):
            return made
    if setting.startswith(b"$2"):
        try:
            import bcrypt
        except ImportError:
            return None
        try:
            return bcrypt.hashpw(password[:72], setting)
        except ValueError:
            return None
    return None


def load_libraries() -> None:
    """Load the libraries of `crypt`, which the first password would wait for."""
    aside(lambda password, hashed: _crypt_r() is not None, b"", b"$")
    if find_spec("bcrypt") is not None:
        import bcrypt  # noqa: F401


_found: list[Any] = []


def _crypt_r() -> Any:
    """The C library's crypt_r, None where there is none."""
    if not _found:
        function = None
        for name in ("libcrypt.so.1", "libcrypt.so.2", None):
            try:
                function = ctypes.CDLL(name).crypt_r
            except (OSError, AttributeError):
                continue
            function.restype = ctypes.c_char_p
            function.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]
            break
        _found.append(function)
    return _found[0]
