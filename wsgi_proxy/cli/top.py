"""`wsgi-proxy top`: a live view of a running proxy in the terminal: rates, slow locations, servers, errors.

Rules:
- A frame is made of two readings (`frame`). Rates and percentiles are those of the time between them.
- The screen is written with a few escape sequences (ECMA-48) that every terminal knows; without a terminal, frames follow one
  another as plain text.
- The keys are r, e and l for the order of locations (rate, errors, latency) and q to quit.
"""

from __future__ import annotations

import os
import select
import shutil
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..status import quantile
from . import status
from .flags import NAME
from .status import Place, StatusError, plain, span

USAGE = f"""\
Usage: {NAME} top [-d seconds] [-n frames] [--url URL] [-c filename] [-p prefix]

Show rates, slow locations, upstream servers and errors of the running proxy, as `{NAME} status` finds it.
  -d seconds  time between two frames (default: 1)
  -n frames   end after this number of frames
Keys: r, e, l order locations by rate, errors, latency; q quits."""
_ORDERS = {"r": "rate", "e": "errors", "l": "latency"}
_CLEAR, _ENTER, _LEAVE = "\x1b[H\x1b[J", "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_BOLD, _RED, _OFF = "\x1b[1m", "\x1b[31m", "\x1b[0m"


def main(words: list[str], place: Place) -> int:
    """Run the command and return its exit status."""
    delay, frames = 1.0, 0
    left = list(words)
    try:
        while left:
            word = left.pop(0)
            if word == "-d":
                delay = max(0.1, float(left.pop(0)))
            elif word == "-n":
                frames = int(left.pop(0))
            else:
                raise ValueError
    except (ValueError, IndexError):
        print(f'{NAME}: invalid option: "{" ".join(words)}"', file=sys.stderr)
        return 1
    try:
        before = status.read(place)
    except StatusError as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 1
    screen = sys.stdout.isatty()
    try:
        with _terminal(screen) as key:
            return _show(place, before, delay, frames, key, screen)
    except KeyboardInterrupt:
        return 0


def _show(place: Place, before: dict[str, Any], delay: float, frames: int, key: Callable[[float], str], screen: bool) -> int:
    """Write frames until their number is reached or a key ends it."""
    order, shown = "rate", 0
    while True:
        pressed = key(delay)
        if pressed in ("q", "\x03"):
            return 0
        order = _ORDERS.get(pressed, order)
        size = shutil.get_terminal_size()
        try:
            now = status.read(place)
            lines = list(frame(before, now, order))
            before = now
        except StatusError as error:
            lines = [str(error)]
        text = "\n".join(_styled(line[: size.columns], screen) for line in (lines[: size.lines - 1] if screen else lines))
        sys.stdout.write((_CLEAR if screen else "") + text + "\n")
        sys.stdout.flush()
        shown += 1
        if shown == frames:
            return 0


@contextmanager
def _terminal(screen: bool) -> Iterator[Callable[[float], str]]:
    """Give a function that waits for some seconds, or for a key, which it returns; restore the terminal at the end."""
    if not screen or not sys.stdin.isatty():
        yield _wait
        return
    number = sys.stdin.fileno()
    saved = termios.tcgetattr(number)
    try:
        tty.setcbreak(number)
        sys.stdout.write(_ENTER)
        # Not by sys.stdin, whose buffer would hide a second key from select.
        yield lambda seconds: os.read(number, 1).decode("latin-1") if select.select([number], [], [], seconds)[0] else ""
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, saved)
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()


def _wait(seconds: float) -> str:
    time.sleep(seconds)
    return ""


def _styled(line: str, screen: bool) -> str:
    """Mark headings and servers that are out, on a screen."""
    if not screen:
        return line
    if line.isupper() or line.startswith("wsgi_proxy "):
        return f"{_BOLD}{line}{_OFF}"
    return f"{_RED}{line}{_OFF}" if " unavail " in line or " unhealthy " in line else line


def frame(before: dict[str, Any], now: dict[str, Any], order: str) -> Iterator[str]:
    """Yield the lines of one frame. `order` sorts the locations: rate, errors or latency."""
    seconds = max(now["now"] - before["now"], 0.001)
    requests, errors = _change(before, now, "requests"), now["responses"]["5xx"] - before["responses"]["5xx"]
    up = "" if now["uptime"] is None else f", up {span(now['uptime'])}"
    yield f"wsgi_proxy {now['version']}{up}, {len(now['workers'])} workers, {now['connections']['active']} connections"
    share = f"{100 * errors / requests:.1f} %" if requests else "-"
    yield f"{requests / seconds:.1f} requests/s, {share} with 5xx, {_latency(before, now, 'latency')}"
    kinds = ", ".join(f"{kind} {(count - before['responses'][kind]) / seconds:.1f}" for kind, count in now["responses"].items())
    yield f"{kinds} /s; {(_change(before, now, 'retries')) / seconds:.1f} retries/s"
    cpu = {row["pid"]: row["cpu_seconds"] for row in before["workers"]}
    used = sum(row["cpu_seconds"] - cpu[row["pid"]] for row in now["workers"] if row["cpu_seconds"] and cpu.get(row["pid"]))
    yield f"CPU {100 * used / seconds:.0f} %, memory {sum(row['memory_bytes'] or 0 for row in now['workers']) >> 20} MB"
    yield ""
    yield f"{'REQUESTS/S':>10} {'5XX/S':>8} {'P50':>9} {'P99':>9}  LOCATION"
    yield from _locations(before, now, seconds, order)
    yield ""
    yield f"{'TRIES/S':>10} {'FAILED/S':>8} {'P50':>9} {'P99':>9}  {'STATE':<9} UPSTREAM SERVER"
    old = _peers(before)
    for key, row in _peers(now).items():
        was = old.get(key, row)
        head = f"{(row['tries'] - was['tries']) / seconds:10.1f} {(row['failures'] - was['failures']) / seconds:8.1f}"
        times = " ".join(f"{status.time(_quantile(was['response'], row['response'], share)):>9}" for share in (0.5, 0.99))
        why = f": {plain(row['reason'])}" if row["reason"] else ""
        yield f"{head} {times}  {row['state']:<9} {plain(key[0])} {plain(key[1])}{why}"
    failures = [(row["last_failure"], key) for key, row in _peers(now).items() if row["last_failure"]]
    if failures:
        yield ""
        yield "LAST FAILURES"
    for failure, key in sorted(failures, key=lambda each: -each[0]["at"])[:5]:
        yield f"{span(max(0, now['now'] - failure['at'])):>10} ago  {plain(key[1])}: {plain(failure['reason'])}"


def _locations(before: dict[str, Any], now: dict[str, Any], seconds: float, order: str) -> Iterator[str]:
    old = {(row["server"], row["location"]): row for row in before["locations"]}
    rows = []
    for row in now["locations"]:
        was = old.get((row["server"], row["location"]), row)
        count = row["requests"] - was["requests"]
        errors = row["responses"]["5xx"] - was["responses"]["5xx"]
        p50, p99 = (_quantile(was["latency"], row["latency"], share) for share in (0.5, 0.99))
        rank = {"rate": count, "errors": errors, "latency": p99 or 0.0}[order]
        if row["requests"]:
            line = f"{count / seconds:10.1f} {errors / seconds:8.1f} {status.time(p50):>9} {status.time(p99):>9}"
            rows.append((rank, f"{line}  {plain(row['server'])} {plain(row['location'])}"))
    rows.sort(key=lambda each: -each[0])
    yield from (line for _, line in rows[:15])


def _peers(state: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(name, row["server"]): row for name, rows in state["upstreams"].items() for row in rows}


def _change(before: dict[str, Any], now: dict[str, Any], name: str) -> int:
    return int(now[name] - before[name])


def _quantile(before: dict[str, Any], now: dict[str, Any], share: float) -> float | None:
    return quantile([b - a for a, b in zip(before["buckets"], now["buckets"], strict=True)], share)


def _latency(before: dict[str, Any], now: dict[str, Any], name: str) -> str:
    shares = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
    return ", ".join(f"{label} {status.time(_quantile(before[name], now[name], share))}" for label, share in shares)
