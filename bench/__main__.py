"""`python -m bench`: run the scenarios, print the tables, and write them after each scenario."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

from . import contenders, large, machine, report
from .contenders import CONTENDERS, Running
from .measures import Turn
from .scenarios import SCENARIOS, Scenario
from .upstream import Upstreams, upstreams


class Fleet:
    """The contenders that stay up for all scenarios; each is started when it is first needed."""

    def __init__(self, folder: Path, servers: Upstreams, stack: contextlib.ExitStack) -> None:
        self.folder, self.servers, self.stack = folder, servers, stack
        self.running: dict[str, Running] = {}
        self.failed: set[str] = set()

    def get(self, name: str) -> Running | None:
        """Return the running contender; None, after a line, if it does not start."""
        if name not in self.running and name not in self.failed:
            try:
                self.running[name] = self.stack.enter_context(contenders.start(name, self.folder, self.servers))
            except (RuntimeError, OSError) as error:
                self.failed.add(name)
                print(f"bench: {name} does not start: {error}", flush=True)
        return self.running.get(name)


class Bench:
    """One run: its options, its processes and its results."""

    def __init__(self, options: argparse.Namespace, names: list[str], folder: Path, stack: contextlib.ExitStack) -> None:
        self.options, self.names, self.folder = options, names, folder
        self.deadline = time.monotonic() + 60 * options.minutes
        self.servers = stack.enter_context(upstreams(folder))
        self.fleet = Fleet(folder, self.servers, stack)

    def run(self, name: str, scenario: Scenario) -> report.Rounds:
        """Return contender → figures of each round. Rounds that begin after the time for the whole run are left out."""
        names = [each for each in self.names if each in scenario.contenders]
        rounds: report.Rounds = {}
        with contextlib.ExitStack() as stack:
            fleet = self.fleet
            if scenario.servers != 6:
                fleet = Fleet(self.folder, self.servers, stack)
                for each in names:
                    own = contenders.start(each, self.folder, self.servers, servers=scenario.servers)
                    with reported(each, scenario):
                        fleet.running[each] = stack.enter_context(own)
                names = list(fleet.running)
            for turn in range(1 if scenario.alone else self.options.rounds):
                if time.monotonic() > self.deadline:
                    print(f"bench: the time is over: {scenario.title} ends with {turn} rounds", flush=True)
                    break
                shift = turn % max(1, len(names))
                for each in names[shift:] + names[:shift]:
                    self.measure(each, scenario, fleet, turn, rounds)
        return rounds

    def measure(self, name: str, scenario: Scenario, fleet: Fleet, turn: int, rounds: report.Rounds) -> None:
        """Measure one contender once, and print the figures."""
        options = self.options
        limits = Turn(options.seconds, turn == 0, self.folder, options.clients, options.requests)
        with contextlib.ExitStack() as stack, reported(name, scenario):
            if scenario.alone:
                own = contenders.start(name, self.folder, self.servers, connections=scenario.connections)
                running: Running | None = stack.enter_context(own)
            else:
                running = fleet.get(name)
            if running is None:
                return
            figures = scenario.measure(running, limits)
            rounds.setdefault(name, {})[turn] = figures
            shown = "  ".join(f"{value:.2f} {key}" for key, value in figures.items())
            print(f"round {turn + 1}  {scenario.title:48} {name:17} {shown}", flush=True)


@contextlib.contextmanager
def reported(name: str, scenario: Scenario):
    """Print a line instead of raising when a contender fails."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        print(f"bench: {name}, {scenario.title}: {error}", flush=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", default="", help=f"scenarios, by commas: {', '.join(SCENARIOS)}, large (this proxy alone)")
    parser.add_argument("--contenders", default="", help=f"by commas: {', '.join(CONTENDERS)}; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of one measurement (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=14.0, help="no round begins later (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=10_000, help="idle clients (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=100_000, help="requests of the scenario growth (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder of the results (default: %(default)s)")
    parser.add_argument("--add", action="store_true", help="keep the other scenarios of the results in that folder")
    options = parser.parse_args(arguments)
    options.scenarios = options.only.split(",") if options.only else [n for n, each in SCENARIOS.items() if each.default]
    options.names = options.contenders.split(",") if options.contenders else list(CONTENDERS)
    for given, known in ((options.scenarios, {*SCENARIOS, "large"}), (options.names, set(CONTENDERS))):
        if unknown := [each for each in given if each not in known]:
            parser.error(f"unknown name {unknown[0]!r}; known: {', '.join(sorted(known))}")
    return options


def main() -> int:
    options = parse(sys.argv[1:])
    names = contenders.available(options.names)
    missing = {tool for tool in ("wrk", "h2load") if machine.program(tool) is None}
    for tool in sorted(missing):
        package = {"h2load": "nghttp2-client"}.get(tool, tool)
        print(f"bench: {tool} is not installed (apt-get install {package}); what needs it is left out", flush=True)
    machine.raise_file_limit(20_000)
    results = report.Results.load(options.out) if options.add else report.Results()
    about = report.machine(names)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, contextlib.ExitStack() as stack:
        bench = Bench(options, names, Path(folder), stack)
        for name in options.scenarios:
            if name == "large":
                results.large = large.measure(Path(folder), bench.servers, options.rounds, options.seconds)
            elif SCENARIOS[name].needs in missing:
                continue
            elif time.monotonic() > bench.deadline:
                print(f"bench: the time is over: {SCENARIOS[name].title} is left out", flush=True)
                continue
            else:
                results.add(name, bench.run(name, SCENARIOS[name]), about)
            report.write(options.out, results)
    print("\n" + report.text(results))
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:
        raise SystemExit("bench: interrupted; the results have the scenarios that were finished") from None
