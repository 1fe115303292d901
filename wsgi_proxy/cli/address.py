"""The address of `--bind`: its text, and a check that it can be bound.

Rules:
- Only the standard library is imported: `make demo` runs this file with any Python before it installs the package.
"""

from __future__ import annotations

import argparse
import socket
import sys


def parse_bind(text: str) -> tuple[str, int]:
    """Return (host, port) of "HOST:PORT", "[V6]:PORT" or ":PORT". Raises ArgumentTypeError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDRESS:PORT")
    return host.strip("[]") or "0.0.0.0", int(port)


def unusable(address: tuple[str, int]) -> str:
    """Return the reason for which (host, port) cannot be bound, "" if it can."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            # The kernel lets two sockets bind an address with SO_REUSEADDR, but only one may listen.
            probe.listen(1)
        except OSError as error:
            return error.strerror or str(error)
    return ""


def main(argv: list[str]) -> int:
    """Check the address in `argv`, print the reason if it cannot be bound, and return the exit status."""
    try:
        address = parse_bind(argv[0])
        reason = unusable(address)
    except argparse.ArgumentTypeError as error:
        print(f"make demo: {error}", file=sys.stderr)
        return 2
    if reason:
        print(f"make demo: {argv[0]}: {reason}; choose another address: make demo BIND=ADDRESS:PORT", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
