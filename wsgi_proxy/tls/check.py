"""What is wrong with the certificates of a configuration, found before it is used (`-t`, start, reload).

Rules:
- Every server block and every location is looked at, and each fault names the file of the configuration and its line.
- A certificate whose time is over or has not come is a warning: nginx starts with it, and so do we.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import locations_of
from ..errors import Fault
from . import client
from . import server as tls

if TYPE_CHECKING:
    from ..config import Config, ServerBlock, SourceLine, UpstreamTLS

_FIRST = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def faults_of(config: Config) -> list[Fault]:
    """Each file that cannot be used for TLS with clients and with upstreams."""
    faults: list[Fault] = []
    for server in config.servers:
        if server.tls is not None and any(listen.ssl for listen in server.listens):
            _note(faults, server.place, lambda server=server: tls.listener_context([(server, True)]))  # type: ignore[misc]
    seen: set[UpstreamTLS] = set()
    for location in locations_of(config):
        settings = location.proxy.tls
        pass_ = location.proxy.pass_
        if pass_ is not None and (pass_.scheme == "https" or pass_.template is not None) and settings not in seen:
            seen.add(settings)
            if settings.verify and not settings.trusted_certificate:
                message = 'no "proxy_ssl_trusted_certificate" for "proxy_ssl_verify"'
                faults.append(Fault(message, pass_.place.file, pass_.place.line or None))
            _note(faults, pass_.place, lambda settings=settings: client.upstream_context(settings))  # type: ignore[misc]
    return faults


def _note(faults: list[Fault], place: SourceLine, make: Callable[[], object]) -> None:
    try:
        make()
    except OSError as error:
        message = f'open() "{error.filename}" failed ({error.errno}: {error.strerror})'
    except ValueError as error:
        message = str(error)
    else:
        return
    faults.append(Fault(message, place.file, place.line or None))


def warnings_of(config: Config, now: datetime | None = None) -> list[str]:
    """A sentence for each certificate that clients would not accept for its dates, and for what is only done in part."""
    now = now or datetime.now(timezone.utc)
    found = []
    for server in config.servers:
        settings = server.tls
        if settings is None:
            continue
        sentences = [_dates(certificate, now) for certificate, _ in tls.constant_pairs(settings)]
        if ":" in settings.ecdh_curve and not hasattr(ssl.SSLContext, "set_groups"):
            sentences.append('"ssl_ecdh_curve" with several curves needs Python 3.15: OpenSSL\'s own list is used')
        found += [f"{said} in {_where(server)}" if server.place.file else said for said in sentences if said]
    return list(dict.fromkeys(found))


def _where(server: ServerBlock) -> str:
    return f"{server.place.file}:{server.place.line}"


def _dates(path: str, now: datetime) -> str:
    """What is to be said about a certificate's dates; "" for nothing."""
    try:
        block = _FIRST.search(Path(path).read_text(encoding="latin-1"))
        if block is None:
            return ""
        begin, end = validity(ssl.PEM_cert_to_DER_cert(block[0]))
    except (OSError, ValueError, IndexError):
        # Whoever loads it says what is wrong with it.
        return ""
    if now > end:
        return f'the certificate "{path}" has expired on {end:%Y-%m-%d %H:%M:%S} UTC'
    if now < begin:
        return f'the certificate "{path}" is not valid before {begin:%Y-%m-%d %H:%M:%S} UTC'
    return ""


def validity(der: bytes) -> tuple[datetime, datetime]:
    """(not before, not after) of a certificate (RFC 5280, 4.1). ValueError or IndexError for what is none."""
    fields = _elements(_elements(_elements(der)[0][1])[0][1])
    if fields[0][0] == 0xA0:
        # The version is optional; before the dates stand serial number, algorithm and issuer.
        fields = fields[1:]
    begin, end = _elements(fields[3][1])
    return _moment(*begin), _moment(*end)


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    """(tag, content) of the elements in DER."""
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
    """UTCTime or GeneralizedTime; two digits mean 1950 to 2049 (RFC 5280, 4.1.2.5.1)."""
    text = content.decode("ascii")
    if tag == 0x17:
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)
