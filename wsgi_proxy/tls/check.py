"""The check of a configuration's certificates before it is used (`-t`, start, reload).

Rules:
- The check covers every server block and every location, and each fault names the file and the line of the configuration.
- An expired certificate, or one that is not valid yet, is a warning: nginx starts with it.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import locations_of
from ..errors import Fault
from . import client, native
from . import server as tls

if TYPE_CHECKING:
    from ..config import Config, SettingPlace, SourceLine, UpstreamTLS

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def faults_of(config: Config) -> list[Fault]:
    """Return a fault for each file or setting that TLS with clients or upstreams cannot use, with the directive's line."""
    faults: list[Fault] = []
    for server in config.servers:
        if server.tls is not None:
            context = partial(tls.listener_context, [(server, True)])
            _note(faults, server.tls.places, server.place, context)
    seen: set[UpstreamTLS] = set()
    for location in locations_of(config):
        settings = location.proxy.tls
        pass_ = location.proxy.pass_
        if pass_ is not None and (pass_.scheme in ("https", "suwsgi") or pass_.template is not None) and settings not in seen:
            seen.add(settings)
            if settings.verify and not settings.trusted_certificate:
                message = 'no "proxy_ssl_trusted_certificate" for "proxy_ssl_verify"'
                faults.append(Fault(message, pass_.place.file, pass_.place.line or None))
            _note(faults, settings.places, pass_.place, partial(client.upstream_context, settings))
    return faults


def _note(faults: list[Fault], places: Sequence[SettingPlace], around: SourceLine, make: Callable[[], object]) -> None:
    """Add the faults of the files that directives name, or of the context made of them.

    A fault that no directive explains gets the line `around`.
    """
    unread = [fault for place in places if place.path and (fault := _unreadable(place)) is not None]
    known = {str(fault) for fault in faults}
    faults += [fault for fault in unread if str(fault) not in known]
    if unread:
        return
    try:
        make()
    except OSError as error:
        message = f'open() "{error.filename}" failed ({error.errno}: {error.strerror})'
    except ValueError as error:
        message = str(error)
    else:
        return
    line = _line_of(message, places) or around
    faults.append(Fault(message, line.file, line.line or None))


def _line_of(message: str, places: Sequence[SettingPlace]) -> SourceLine | None:
    """Return the line of the directive that a message names first, by its name or by its file; None if it names none."""
    named = [(message.find(f'"{text}'), place.place) for place in places for text in (place.directive, place.path) if text]
    return min((each for each in named if each[0] >= 0), key=lambda each: each[0], default=(0, None))[1]


def _unreadable(place: SettingPlace) -> Fault | None:
    """Return the fault of a file that cannot be opened, None if it can."""
    try:
        tls.check_readable(place.path)
    except OSError as error:
        message = f'open() "{place.path}" failed ({error.errno}: {error.strerror})'
    except ValueError as error:
        message = str(error)
    else:
        return None
    return Fault(message, place.place.file, place.place.line or None)


def warnings_of(config: Config, now: datetime | None = None) -> list[str]:
    """Return a warning for each server certificate that clients reject for its dates, and for each setting done in part.

    Each certificate is warned of once, with the first server block that names it. Unreadable files are left to `faults_of`.
    """
    now = now or datetime.now(timezone.utc)
    found: dict[str, str] = {}
    for server in config.servers:
        if server.tls is None:
            continue
        messages = [_dates(certificate, now) for certificate, _ in tls.constant_pairs(server.tls)]
        if ":" in server.tls.ecdh_curve and not hasattr(ssl.SSLContext, "set_groups") and not native.available():
            messages.append(
                '"ssl_ecdh_curve" with several curves needs Python 3.15, OpenSSL\'s list of curves is used: name one curve'
            )
        place = f" in {server.place.file}:{server.place.line}" if server.place.file else ""
        for message in filter(None, messages):
            found.setdefault(message, message + place)
    return list(found.values())


def _dates(path: str, now: datetime) -> str:
    """Return the warning about a certificate's dates, "" if it is valid or cannot be read."""
    dates = _validity_of(path)
    if dates is None:
        return ""
    begin, end = dates
    if now > end:
        return f'certificate "{path}" expired on {end:%Y-%m-%d %H:%M:%S} UTC and clients reject it: renew it'
    if now < begin:
        return f'certificate "{path}" is not valid before {begin:%Y-%m-%d %H:%M:%S} UTC and clients reject it: check the clock'
    return ""


def certificates_of(config: Config) -> list[tuple[str, str, int | None]]:
    """Return (path, server name, notAfter in seconds since the epoch) of each server certificate without variables.

    The time is None if the file cannot be read.
    """
    found: dict[str, tuple[str, str, int | None]] = {}
    for server in config.servers:
        for path, _ in [] if server.tls is None else tls.constant_pairs(server.tls):
            if path not in found:
                dates = _validity_of(path)
                found[path] = (
                    path,
                    server.names[0] if server.names else "",
                    None if dates is None else int(dates[1].timestamp()),
                )
    return list(found.values())


def _validity_of(path: str) -> tuple[datetime, datetime] | None:
    """Return the dates of the first certificate in a file, None if it has none or cannot be read."""
    try:
        block = _CERTIFICATE.search(Path(path).read_text(encoding="latin-1"))
        return None if block is None else validity(ssl.PEM_cert_to_DER_cert(block[0]))
    except (OSError, ValueError, IndexError):
        return None


def validity(der: bytes) -> tuple[datetime, datetime]:
    """Return the dates (notBefore, notAfter) of a certificate (RFC 5280, section 4.1).

    Raise ValueError or IndexError if the bytes are no certificate. Python's `ssl` has only the dates of a peer's certificate.
    """
    fields = _elements(_elements(_elements(der)[0][1])[0][1])
    if fields[0][0] == 0xA0:
        # The version is optional. Serial number, algorithm and issuer precede the dates.
        fields = fields[1:]
    begin, end = _elements(fields[3][1])
    return _moment(*begin), _moment(*end)


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    """Return the (tag, content) of each element in DER."""
    found = []
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        found.append((tag, data[at : at + length]))
        at += length
    return found


def _moment(tag: int, content: bytes) -> datetime:
    """Return the time of a UTCTime or GeneralizedTime; two digits mean 1950 to 2049 (RFC 5280, section 4.1.2.5.1)."""
    text = content.decode("ascii")
    if tag == 0x17:
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)
