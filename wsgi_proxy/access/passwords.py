"""Password files in htpasswd's format, and the check of a password against a hash.

Rules:
- {PLAIN}, {SHA}, {SSHA} and $apr1$ are implemented here. All other schemes (bcrypt, DES, $1$, $5$, $6$, $y$) use the system's
  crypt(3), as in nginx. If that lacks bcrypt, the Python package `bcrypt` is used where it is installed.
- No password matches a hash in an unknown scheme.
- A slow hash is computed once per password. A match is cached under a keyed digest, never with the password. Under gevent
  the hash is computed in a thread, so that other connections continue.
- A changed file is read again. The first line of a user counts.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import hashlib
import hmac
import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from ..net import in_system_thread

_REMEMBERED = 1024
_ITOA64 = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BCRYPT_SETTING = b"$2b$04$" + b"." * 22
"""The setting with the least work."""
_CRYPT_DATA = 256 * 1024
"""A size in bytes that exceeds every C library's struct crypt_data."""


class PasswordFile:
    """A file of `user:hash[:comment]` lines. One object can serve concurrent requests."""

    __slots__ = ("_matches", "_seen", "_secret", "_users", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._users: dict[str, str] = {}
        self._secret = os.urandom(32)
        self._matches: dict[bytes, None] = {}

    def hash_of(self, user: str) -> str | None:
        """Return the hash of `user`, None for an unknown user. Raises OSError if the file cannot be read."""
        status = os.stat(self.path)
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        if seen != self._seen:
            self._users = read_users(self.path)
            self._seen = seen
        return self._users.get(user)

    def matches(self, user: str, password: str, hashed: str) -> bool:
        """Return True if `password` matches the user's hash."""
        text = b"\0".join(part.encode("latin-1") for part in (user, hashed, password))
        key = hashlib.blake2b(text, key=self._secret, digest_size=16).digest()
        if key in self._matches:
            return True
        if not offload(verify, password.encode("latin-1"), hashed.encode("latin-1")):
            return False
        if len(self._matches) >= _REMEMBERED:
            self._matches.pop(next(iter(self._matches)), None)
        self._matches[key] = None
        return True


def read_users(path: str) -> dict[str, str]:
    """Return {user: hash} of a password file. Lines that begin with # or lack a colon are ignored."""
    users: dict[str, str] = {}
    with open(path, encoding="latin-1", newline="") as file:
        for line in file.read().split("\n"):
            user, colon, rest = line.rstrip("\r").partition(":")
            if colon and user and not user.startswith("#"):
                users.setdefault(user, rest.partition(":")[0])
    return users


def lacks_bcrypt(path: str) -> bool:
    """Return True if a password file has bcrypt hashes, and neither crypt(3) nor the package `bcrypt` can check them.

    A file that cannot be read is the business of its requests, as in nginx.
    """
    try:
        hashes = read_users(path).values()
    except OSError:
        return False
    return any(hashed.startswith("$2") for hashed in hashes) and crypt(b"", _BCRYPT_SETTING) is None


def offload(function: Callable[[bytes, bytes], bool], password: bytes, hashed: bytes) -> bool:
    """Return function(password, hashed). Under gevent a slow hash is computed in its thread pool."""
    return in_system_thread(function, password, hashed) if hashed.startswith(b"$") else function(password, hashed)


def verify(password: bytes, hashed: bytes) -> bool:
    """Return True if `password` matches `hashed`, False for an unknown scheme."""
    for prefix, check in _SCHEMES.items():
        if hashed.startswith(prefix):
            return check(password, hashed[len(prefix) :])
    made = crypt(password, hashed)
    return made is not None and hmac.compare_digest(made, hashed)


def _plain(password: bytes, rest: bytes) -> bool:
    return hmac.compare_digest(password, rest)


def _salted_sha1(password: bytes, rest: bytes) -> bool:
    """Check {SHA} and {SSHA}: base64 of the SHA-1 of password and salt, followed by the salt (RFC 2307, section 5.3)."""
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
    """Return Apache's MD5 crypt with its thousand rounds, `$apr1$salt$…`."""
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
    out = b"".join(_crypt_base64(group, 4) for group in groups) + _crypt_base64(digest[11], 2)
    return b"$apr1$" + salt + b"$" + out


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _crypt_base64(value: int, count: int) -> bytes:
    return bytes(_ITOA64[value >> shift & 63] for shift in range(0, 6 * count, 6))


def crypt(password: bytes, setting: bytes) -> bytes | None:
    """Return crypt(3) of the password in the thread-safe form, None if no library supports the setting."""
    function = _crypt_r()
    if function is not None and b"\0" not in password:
        # Each call needs a separate buffer of zeros, because the library keeps its state there.
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
    """Load the libraries of `crypt` in advance, so that the first password need not wait for them."""
    offload(lambda password, hashed: _crypt_r() is not None, b"", b"$")
    if find_spec("bcrypt") is not None:
        import bcrypt  # noqa: F401


_found: list[Any] = []


def _crypt_r() -> Any:
    """Return the C library's crypt_r, None on a system without it."""
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
