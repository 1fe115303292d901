"""`wsgi-proxy cache ls|show|purge PATTERN|stats -c nginx.conf`: show and purge the caches of a configuration.

Rules:
- The command works on the storage that the workers use, whether any are running or not. A purge applies to all workers at once.
- A pattern is a key, a target, a URL, or a shell pattern of one of them (`*`, `?`, `[abc]`), quoted from the shell.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ..cache import Entry, ZoneCache, by_pattern, is_directory, matches, memory_zones, open_zone, validators

if TYPE_CHECKING:
    from ..config import Config

USAGE: Final = """\
Usage: wsgi-proxy cache ls [PATTERN] | show PATTERN | purge PATTERN | stats  [-c filename] [-p prefix]

  ls     print a line for each stored response: status, size, age, freshness, key
  show   print all details of the matching responses
  purge  remove the matching responses for all workers at once; fetches in progress do not store their responses
  stats  print entries, fresh entries, bytes and bounds of each zone"""

_UNITS: Final = ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "k"))


def main(argv: list[str], config: Config | None) -> int:
    """Run one command on the caches of a configuration, None for help alone.

    Return 0 if it found something, 1 if not, 2 if the arguments are wrong.
    """
    if not argv or argv[0] in ("-h", "--help") or config is None:
        print(USAGE, file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    command, *rest = argv
    wanted = {"ls": (0, 1), "show": (1, 1), "purge": (1, 1), "stats": (0, 0)}.get(command)
    if wanted is None or not wanted[0] <= len(rest) <= wanted[1]:
        print(USAGE, file=sys.stderr)
        return 2
    if not config.cache_zones:
        print(f"{config.path}: no proxy_cache_path, so there is no cache", file=sys.stderr)
        return 1
    zones, fault = _open(config)
    if not zones:
        return 1 if fault or command != "stats" else 0
    try:
        if command == "stats":
            return _stats(zones)
        if command == "purge":
            return _purge(zones, rest[0])
        return _list(zones, rest[0] if rest else "*", in_full=command == "show")
    finally:
        for zone in zones:
            zone.close()


def _open(config: Config) -> tuple[list[ZoneCache], bool]:
    """Return the zones that can be opened, and True if one could not."""
    zones: list[ZoneCache] = []
    fault = False
    for settings in config.cache_zones.values():
        try:
            if is_directory(settings.path):
                directory = os.path.join(config.prefix, settings.path)
                if not os.path.lexists(directory) and os.path.isdir(os.path.dirname(directory)):
                    # A directory made here could belong to another account than the workers'.
                    print(f'cache zone "{settings.name}" is empty: there is no "{directory}"', file=sys.stderr)
                    continue
                become_owner(directory)
            if settings.path == "memory":
                zones += memory_zones(settings)
            else:
                zones.append(open_zone(settings, config.prefix))
        except OSError as error:
            fault = True
            print(f'cache zone "{settings.name}" cannot be opened: {error}', file=sys.stderr)
    return zones, fault


def become_owner(directory: str) -> None:
    """As root, continue as the owner of the directory, so that the workers can use the files made there."""
    try:
        found = os.stat(directory)
    except FileNotFoundError:
        return
    if os.geteuid() == 0 and found.st_uid != 0:
        os.setegid(found.st_gid)
        os.seteuid(found.st_uid)


def _matching(zone: ZoneCache, pattern: str) -> Iterator[Entry]:
    for entry in zone.entries():
        if matches(entry, pattern):
            yield entry


def _list(zones: list[ZoneCache], pattern: str, *, in_full: bool) -> int:
    found = 0
    for zone in zones:
        for entry in _matching(zone, pattern):
            found += 1
            print(_in_full(zone, entry, time.time()) if in_full else _line(entry, time.time()))
    if not found:
        print("nothing is stored" if pattern == "*" else f'nothing stored matches "{pattern}"', file=sys.stderr)
    return 0 if found else 1


def _line(entry: Entry, now: float) -> str:
    age = duration(entry.freshness.age(now))
    return f"{entry.status} {size(entry.body_length):>6} {age:>7}  {why(entry, now)}  {_printable(entry.key)}"


def why(entry: Entry, now: float) -> str:
    """Return a text on the entry's freshness: the time left, or the reasons for which it is stale."""
    f = entry.freshness
    left = f.left(now)
    if f.no_cache:
        return "validated each time (no-cache)"
    if left > 0:
        return f"fresh for {duration(left)}"
    reasons = [f"stale for {duration(-left)}: lifetime {duration(f.lifetime)}"]
    if f.must_revalidate:
        reasons.append("must be revalidated")
    elif -left < f.grace:
        reasons.append(f"usable while it is updated for {duration(f.grace + left)}")
    elif -left < f.error_grace:
        reasons.append(f"usable on errors for {duration(f.error_grace + left)}")
    if not validators(entry.headers):
        reasons.append("no validator")
    return ", ".join(reasons)


def _in_full(zone: ZoneCache, entry: Entry, now: float) -> str:
    rows = [
        ("key", entry.key),
        ("zone", zone.settings.name),
        ("uri", entry.uri),
        ("status", f"{entry.status} {entry.reason}".strip()),
        ("state", why(entry, now)),
        ("age", duration(entry.freshness.age(now))),
        ("stored", _moment(entry.stored_at)),
        ("validated", _moment(entry.checked_at)),
        ("body", f"{entry.body_length} bytes"),
        ("file", entry.path or entry.name),
    ]
    rows += [("varies by", f"{name}: {value}" if value is not None else f"{name} (absent)") for name, value in _selected(entry)]
    rows += [("field", f"{name}: {value}") for name, value in entry.headers]
    return "\n".join(f"{name:<10} {_printable(text)}" for name, text in rows) + "\n"


def _selected(entry: Entry) -> list[tuple[str, str | None]]:
    return list(zip(entry.spec, entry.selection))  # noqa: B905 - of one length by construction


def _purge(zones: list[ZoneCache], pattern: str) -> int:
    gone, failed = 0, False
    for zone in zones:
        try:
            gone += by_pattern(zone, pattern)
        except OSError as error:
            failed = True
            print(f'cache zone "{zone.settings.name}" cannot be purged: {error}', file=sys.stderr)
    print(f"purged {_responses(gone)}")
    return 0 if gone and not failed else 1


def _stats(zones: list[ZoneCache]) -> int:
    for zone in zones:
        settings = zone.settings
        entries = total = fresh = 0
        now = time.time()
        for entry in zone.entries():
            entries += 1
            total += max(0, entry.body_length)
            fresh += entry.freshness.left(now) > 0 and not entry.freshness.no_cache
        bounds = [f"inactive {duration(settings.inactive)}"]
        bounds += [f"max_size {size(settings.max_size)}"] if settings.max_size else []
        bounds += [f"min_free {size(settings.min_free)}"] if settings.min_free else []
        print(f"{settings.name}: {settings.path}")
        amount = size(total) if total >= 1024 else f"{total} bytes"
        print(f"  {_responses(entries)}, {fresh} fresh, {amount} of bodies; {', '.join(bounds)}")
    return 0


def _responses(count: int) -> str:
    return f"{count} response" if count == 1 else f"{count} responses"


def size(count: int) -> str:
    """Return a size in bytes in a readable unit: 512, 1.5k, 20M."""
    for unit, letter in _UNITS:
        if count >= unit:
            amount = count / unit
            return f"{amount:.1f}{letter}" if amount < 10 else f"{amount:.0f}{letter}"
    return str(max(0, count))


def duration(seconds: float) -> str:
    """Return a number of seconds in readable units: 5s, 3m20s, 10m, 2h5m, 4d3h."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return _pair(whole // 60, "m", whole % 60, "s")
    if whole < 86400:
        return _pair(whole // 3600, "h", whole % 3600 // 60, "m")
    return _pair(whole // 86400, "d", whole % 86400 // 3600, "h")


def _pair(many: int, unit: str, rest: int, smaller: str) -> str:
    return f"{many}{unit}{rest}{smaller}" if rest else f"{many}{unit}"


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _printable(text: str) -> str:
    """Escape control characters. Clients and origins choose the keys and fields that a terminal shows."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
