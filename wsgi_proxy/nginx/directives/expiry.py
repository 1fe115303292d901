"""Certificates that are no longer, or not yet, valid: a warning, because nginx serves them all the same.

Python's ssl tells the dates of a peer's certificate only, so the two dates are read here out of the file's DER
(RFC 5280, 4.1: Certificate, TBSCertificate, Validity).
"""

from __future__ import annotations

import re
import ssl
import time
from calendar import timegm
from collections.abc import Iterator

from ...config import Config

_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def outdated(config: Config, now: float) -> Iterator[str]:
    """A sentence for each server certificate that is not valid `now` (epoch seconds). Files that cannot be read are left out:
    they are a fault elsewhere."""
    told: set[str] = set()
    for server in config.servers:
        for certificate, _ in server.tls.certificates if server.tls else ():
            path = getattr(certificate, "constant", None)
            if path is None or path in told:
                continue
            told.add(path)
            sentence = _judge(path, now)
            if sentence:
                yield f'certificate "{path}" {sentence} in {server.place.file}:{server.place.line}'


def _judge(path: str, now: float) -> str:
    try:
        with open(path.encode("latin-1"), encoding="latin-1") as file:
            found = _CERTIFICATE.search(file.read(1 << 20))
        if found is None:
            return ""
        begin, end = validity(ssl.PEM_cert_to_DER_cert(found[0]))
    except (OSError, ValueError, IndexError):
        return ""
    if now > end:
        return f"has expired on {_day(end)}"
    return f"is not valid before {_day(begin)}" if now < begin else ""


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def validity(der: bytes) -> tuple[float, float]:
    """(notBefore, notAfter) of a certificate in epoch seconds. ValueError or IndexError when it is none."""
    certificate, _ = _element(der, 0)
    fields, _ = _element(certificate, 0)
    at = 0
    if fields[0] == 0xA0:  # version, absent in the oldest certificates
        _, at = _element(fields, at)
    for _ in ("serialNumber", "signature", "issuer"):
        _, at = _element(fields, at)
    dates, _ = _element(fields, at)
    begin, second = _element(dates, 0)
    end, _ = _element(dates, second)
    return _time(begin), _time(end)


def _element(data: bytes, at: int) -> tuple[bytes, int]:
    """The content of the element that begins at `at`, and where the next one begins."""
    length = data[at + 1]
    start = at + 2
    if length & 0x80:
        width = length & 0x7F
        length = int.from_bytes(data[start : start + width], "big")
        start += width
    return data[start : start + length], start + length


def _time(text: bytes) -> float:
    """UTCTime (two digits of the year, RFC 5280, 4.1.2.5.1) or GeneralizedTime."""
    digits = text.decode("ascii").removesuffix("Z")
    if len(digits) == 12:
        digits = ("19" if digits >= "50" else "20") + digits
    return float(timegm(time.strptime(digits, "%Y%m%d%H%M%S")))
