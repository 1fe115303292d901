"""`wsgi-proxy cert --self-signed NAME…`: a certificate and its key for development.

Rules:
- The key is written first, readable only by its owner. Existing files are kept unless --force is given.
- The names become subjectAltNames: DNS names (with wildcards) and IP addresses. The first one names the files.
- The certificate is not an authority: a browser that trusts it trusts these names only.
"""

from __future__ import annotations

import argparse
import datetime
import ipaddress
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509

_LONGEST = 398
"""The maximum validity in days that browsers accept (CA/Browser Forum, Baseline Requirements, section 6.3.2)."""


def main(argv: Sequence[str]) -> int:
    """Run the sub-command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="wsgi-proxy cert", description="Make a certificate for development and print the directives that use it."
    )
    parser.add_argument("--self-signed", action="store_true", required=True, help="sign it with its own key")
    parser.add_argument("names", metavar="NAME", nargs="+", help="a host name, *.host.name or IP address")
    parser.add_argument("--days", type=int, default=365, help="the validity in days (default 365, at most 398)")
    parser.add_argument("--out", metavar="DIRECTORY", default=".", help="directory of NAME.crt and NAME.key (default: .)")
    parser.add_argument("--force", action="store_true", help="replace existing files")
    options = parser.parse_args(argv)
    if not 1 <= options.days <= _LONGEST:
        parser.error(f"--days must be between 1 and {_LONGEST}")
    try:
        certificate, key = make(options.names, options.days)
    except ImportError:
        print('wsgi-proxy cert: the package cryptography is missing; run: pip install "wsgi-proxy-nginx[tls]"', file=sys.stderr)
        return 1
    except ValueError as error:
        parser.error(str(error))
    stem = options.names[0].replace("*", "_").replace(":", "_")
    paths = [Path(options.out) / f"{stem}.{suffix}" for suffix in ("key", "crt")]
    try:
        for path, data, mode in zip(paths, (key, certificate), (0o600, 0o644), strict=True):
            write(path, data, mode, options.force)
    except OSError as error:
        print(f"wsgi-proxy cert: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"ssl_certificate     {paths[1].resolve()};\nssl_certificate_key {paths[0].resolve()};")
    return 0


def write(path: Path, data: bytes, mode: int, force: bool) -> None:
    """Write a new file with these permissions. Raises FileExistsError unless `force` is true."""
    if force:
        path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)


def make(names: Sequence[str], days: int) -> tuple[bytes, bytes]:
    """Return (certificate, key) in PEM for these names, valid for `days` from now. Raises ValueError for an invalid name."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    alternatives = [_alternative(name) for name in names]
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    # The clocks of clients may be slightly behind.
    begin = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    return certificate.public_bytes(pem), key.private_bytes(pem, form, serialization.NoEncryption())


def _alternative(name: str) -> x509.GeneralName:
    """Return a name as subjectAltName (RFC 5280, section 4.2.1.6). Raises ValueError."""
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        pass
    try:
        labels = name.removeprefix("*.").encode("idna").decode()
    except UnicodeError:
        labels = ""
    if not labels or any(char in labels for char in "/*@: \t"):
        raise ValueError(f'"{name}" is not a host name')
    return x509.DNSName(("*." if name.startswith("*.") else "") + labels)
