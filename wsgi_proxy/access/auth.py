"""Authentication: `auth_basic` and `auth_request`.

Rules:
- Each check belongs to the access phase. It returns True to admit, False for no decision, and raises a Refusal with the challenge
  to deny.
- CONNECT, and an absolute target that a forward proxy fetches, are challenged by Proxy-Authenticate (407). All other requests are
  challenged by WWW-Authenticate (401) (RFC 9110, section 11.7).
- `auth_request` accepts the statuses 2xx, 401 and 403 of the subrequest. Any other status is a 500.
Source: ngx_http_auth_basic_module, ngx_http_auth_request_module.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import ProxyError, Refusal
from ..http import single_line
from ..logs import errorlog
from .passwords import PasswordFile

if TYPE_CHECKING:
    from ..config import GuardSettings, Template
    from ..exchange import Exchange
    from ..response import Response

Subrequest = Callable[["Exchange", str], Any]
"""Answers a subrequest for a URI: an object with `response`, the subrequest's `exchange`, and `close`."""


def is_proxied(exchange: Exchange) -> bool:
    """Return True if the client uses a forward proxy. It then authenticates to the proxy, not to the site."""
    if exchange.method == "CONNECT":
        return True
    target = exchange.location.proxy.pass_
    return bool(exchange.absolute) and target is not None and target.template is not None


def credentials(value: str) -> tuple[str, str] | None:
    """Return (user, password) of a Basic credential (RFC 7617, section 2); None for any other value.

    >>> credentials("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
    ('Aladdin', 'open sesame')
    """
    scheme, _, word = value.partition(" ")
    if scheme.lower() != "basic":
        return None
    word = word.strip(" ")
    try:
        text = base64.b64decode(word + "=" * (-len(word) % 4), validate=True).decode("latin-1")
    except (binascii.Error, ValueError):
        return None
    user, colon, password = text.partition(":")
    return (user, password) if colon and user else None


class BasicCheck:
    """The `auth_basic` and `auth_basic_user_file` of a location. `prefix` is the directory of relative paths."""

    __slots__ = ("_file", "_files", "_prefix", "_realm")

    def __init__(self, realm: Template, file: Template, prefix: str = "") -> None:
        self._realm = realm
        self._file = file
        self._files: dict[str, PasswordFile] = {}
        self._prefix = prefix

    def __call__(self, exchange: Exchange) -> bool:
        """Return True for a correct password, False if the realm is `off`.

        Raises Refusal (401, 407, or 403 without the password file) or ProxyError (500).
        """
        realm = self._realm(exchange)
        if realm == "off":
            return False
        proxied = is_proxied(exchange)
        given = credentials(exchange.header("Proxy-Authorization" if proxied else "Authorization"))
        if given is None:
            errorlog.line("info", "no user/password was provided for basic authentication", exchange)
            raise challenge(realm, proxied)
        user, password = given
        path = self._file(exchange)
        file = self._passwords(path)
        try:
            hashed = file.hash_of(user)
        except FileNotFoundError as error:
            errorlog.line("error", f'open() "{file.path}" failed ({error.errno}: {error.strerror})', exchange)
            raise Refusal(status=403) from error
        except OSError as error:
            raise ProxyError(f'open() "{file.path}" failed ({error.errno}: {error.strerror})', status=500) from error
        if hashed is None:
            errorlog.line("error", f'user "{user}" was not found in "{file.path}"', exchange)
            raise challenge(realm, proxied)
        if not file.matches(user, password, hashed):
            errorlog.line("error", f'user "{user}": password mismatch', exchange)
            raise challenge(realm, proxied)
        exchange.remote_user = user
        return True

    def _passwords(self, path: str) -> PasswordFile:
        """Return the password file at `path`. At most 64 stay in memory, because a path may contain variables."""
        file = self._files.get(path)
        if file is None:
            if len(self._files) >= 64:
                self._files.clear()
            file = self._files[path] = PasswordFile(os.path.join(self._prefix, path))
        return file


def challenge(realm: str, proxied: bool) -> Refusal:
    """Return a 401 with WWW-Authenticate, or a 407 with Proxy-Authenticate."""
    name = "Proxy-Authenticate" if proxied else "WWW-Authenticate"
    return Refusal(status=407 if proxied else 401, headers=[(name, f'Basic realm="{single_line(realm)}"')])


class RequestCheck:
    """The `auth_request` and `auth_request_set` of a location: a subrequest to another location decides."""

    __slots__ = ("_settings", "_subrequest")

    def __init__(self, settings: GuardSettings, subrequest: Callable[[], Subrequest]) -> None:
        self._settings = settings
        self._subrequest = subrequest

    def __call__(self, exchange: Exchange) -> bool:
        """Return True for a 2xx of the subrequest. Raises Refusal (401, 403), or ProxyError (500) for any other status."""
        answer = self._subrequest()(exchange, self._settings.auth_request)
        try:
            response: Response = answer.response
            status = response.status
            headers = [pair for pair in response.headers if pair[0].lower() == "www-authenticate"]
            for name, template in self._settings.auth_request_set:
                exchange.assign(name, template(answer.exchange))
        finally:
            answer.close()
        if exchange.trace is not None:
            exchange.why("auth", f"{self._settings.auth_request} answered {status}")
        if 200 <= status < 300:
            return True
        if status == 401:
            raise Refusal(status=401, headers=headers)
        if status == 403:
            raise Refusal(status=403)
        raise ProxyError(f"auth request unexpected status: {status}", status=500)
