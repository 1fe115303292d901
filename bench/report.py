"""The results: the file that keeps them, and their tables in Markdown.

Rules:
- A ratio is to the cheaper nginx: the one with the lower median in that scenario and figure.
- The tables list the scenarios by our ratio, the worst first.
- `RESULTS.md` in the folder of the results gets the tables between its two marks; `TABLES.md` holds them otherwise.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import large
from .contenders import CONTENDERS, NGINX, OURS, version_of
from .measures import Figures
from .scenarios import SCENARIOS, Aim

Rounds = dict[str, dict[int, Figures]]
"""Contender → round → figures."""
MISSED = "**missed**"
MARKS = "<!-- bench: begin -->", "<!-- bench: end -->"
PROXIES = [name for name, contender in CONTENDERS.items() if not contender.peer]


@dataclass
class Results:
    """All that was measured."""

    rounds: dict[str, Rounds] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)
    """Scenario → machine and versions."""
    large: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, rounds: Rounds, about: str) -> None:
        self.rounds[name], self.about[name] = rounds, about

    @classmethod
    def load(cls, folder: Path) -> Results:
        """Return the results of a folder; empty ones if it has none."""
        path = folder / "results.json"
        results = cls(**json.loads(path.read_text())) if path.exists() else cls()
        for rounds in results.rounds.values():
            for name, figures in rounds.items():
                rounds[name] = {int(turn): values for turn, values in figures.items()}
        return results


def figures(rounds: Rounds) -> list[str]:
    """Return the names of the figures, the main one first."""
    return list(dict.fromkeys(key for turns in rounds.values() for each in turns.values() for key in each))


def median(rounds: Rounds, name: str, key: str) -> float | None:
    values = [each[key] for each in rounds.get(name, {}).values() if key in each]
    return statistics.median(values) if values else None


def cheaper_nginx(rounds: Rounds, key: str) -> str | None:
    """Return the name of the nginx with the lower median."""
    medians = {name: value for name in NGINX if (value := median(rounds, name, key)) is not None}
    return min(medians, key=medians.__getitem__) if medians else None


def ratio(rounds: Rounds, name: str, key: str) -> float | None:
    """Return the median over the rounds of the ratio to the cheaper nginx in the same round; None if there is none."""
    base = cheaper_nginx(rounds, key)
    if base is None:
        return None
    values = [
        each[key] / rounds[base][turn][key]
        for turn, each in rounds.get(name, {}).items()
        if key in each and turn in rounds[base] and rounds[base][turn][key] > 0
    ]
    return statistics.median(values) if values else None


def order(results: Results) -> list[str]:
    """Return the scenarios, our worst ratio first. Without a ratio, a missed aim comes first and others last."""

    def key(name: str) -> float:
        rounds = results.rounds[name]
        main = figures(rounds)[0]
        found = ratio(rounds, OURS, main)
        if found is None:
            return float("-inf" if verdict(rounds, main, SCENARIOS[name].aim) == MISSED else "inf")
        return -found

    return sorted((name for name in results.rounds if results.rounds[name]), key=key)


def verdict(rounds: Rounds, key: str, aim: Aim | None) -> str:
    """Return whether an aim is reached."""
    ours = median(rounds, OURS, key)
    seen = ours if aim and aim.absolute else ratio(rounds, OURS, key)
    if aim is None or seen is None or ours is None:
        return ""

    def reached(limit: float | None, below: tuple[str, ...]) -> bool:
        others = [value for name in below if (value := median(rounds, name, key)) is not None]
        return limit is not None and seen <= limit and all(ours < value for value in others)

    if not reached(aim.must, aim.must_below):
        return MISSED
    return "met, hope too" if reached(aim.hope, aim.hope_below) else "met"


def aimed(aim: Aim | None) -> tuple[str, str]:
    """Return the aims as text: must and hope."""
    if aim is None:
        return "–", "–"
    unit = "" if aim.absolute else " ×"

    def shown(limit: float | None, below: tuple[str, ...]) -> str:
        if limit is None:
            return "–"
        return f"≤ {limit:g}{unit}" + (f", below {' and '.join(below)}" if below else "")

    return shown(aim.must, aim.must_below), shown(aim.hope, aim.hope_below)


def number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def main_table(results: Results) -> str:
    """Return the main figure of each scenario, the worst ratio first."""
    lines = [
        f"| work | figure | ours ÷ nginx | must | hope | | {' | '.join(PROXIES)} |",
        "|---" * (6 + len(PROXIES)) + "|",
    ]
    for name in order(results):
        rounds = results.rounds[name]
        scenario, key = SCENARIOS[name], figures(rounds)[0]
        found, base = ratio(rounds, OURS, key), cheaper_nginx(rounds, key)
        cells = [
            f"**{number(value)}**" if each == base else number(value) for each in PROXIES for value in [median(rounds, each, key)]
        ]
        must, hope = aimed(scenario.aim)
        shown = f"{found:.2f}" if found is not None else "–"
        row = [scenario.title, key, shown, must, hope, verdict(rounds, key, scenario.aim), *cells]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def other_table(results: Results) -> str:
    """Return the other figures."""
    lines = [f"| work | figure | ours ÷ nginx | {' | '.join(PROXIES)} |", "|---" * (3 + len(PROXIES)) + "|"]
    for name in order(results):
        rounds = results.rounds[name]
        for key in figures(rounds)[1:]:
            found = ratio(rounds, OURS, key)
            cells = [number(median(rounds, each, key)) for each in PROXIES]
            shown = f"{found:.2f}" if found is not None else "–"
            lines.append(f"| {SCENARIOS[name].title} | {key} | {shown} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def peers_table(results: Results) -> str:
    """Return the peers in Python, beside this proxy."""
    lines = ["| work | figure | contender | median | ÷ ours |", "|---|---|---|---|---|"]
    for name, rounds in results.rounds.items():
        for peer in (each for each in rounds if CONTENDERS[each].peer):
            for key in figures(rounds):
                value, ours = median(rounds, peer, key), median(rounds, OURS, key)
                shown = f"{value / ours:.1f}" if value is not None and ours else "–"
                lines.append(f"| {SCENARIOS[name].title} | {key} | {peer} | {number(value)} | {shown} |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def text(results: Results) -> str:
    """Return the report in Markdown."""
    parts = [*dict.fromkeys(results.about.values()), main_table(results)]
    if other := other_table(results):
        parts += ["Other figures of the same run:", other]
    if peers := peers_table(results):
        parts += ["Proxies in Python:", peers]
    if results.large:
        parts += ["The cost of a large configuration, this proxy alone:", large.table(results.large)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def machine(names: list[str]) -> str:
    """Return the date, the commit, the machine and the versions of the contenders."""
    about = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in about if "model name" in line), "")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    versions = ", ".join(f"{name} {version_of(name)}" for name in names)
    return (
        f"{datetime.date.today()}, commit {commit or 'unknown'}, {os.cpu_count()} cores ({model}), Linux {platform.release()}, "
        f"Python {sys.version.split()[0]}: {versions}."
    )


def write(folder: Path, results: Results) -> None:
    """Write results.json, costs.svg and the tables."""
    from .picture import picture

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(asdict(results), indent=1) + "\n")
    drawing = picture(results)
    if drawing:
        (folder / "costs.svg").write_text(drawing)
    tables = text(results)
    page = folder / "RESULTS.md"
    if page.exists():
        before, begin, rest = page.read_text().partition(MARKS[0])
        _, end, after = rest.partition(MARKS[1])
        if not (begin and end):
            raise RuntimeError(f"{page} has no marks {MARKS[0]} and {MARKS[1]}")
        image = "![Cost relative to nginx](costs.svg)\n\n" if drawing else ""
        page.write_text(f"{before}{begin}\n\n{image}{tables}\n{end}{after}")
    else:
        (folder / "TABLES.md").write_text(tables)
