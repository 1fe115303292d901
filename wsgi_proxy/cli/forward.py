"""`wsgi-proxy forward …`: a forward proxy. The command writes an nginx configuration and runs it.

Rules:
- The configuration contains everything. `--print` prints it, so that it can be saved and edited.
- The proxy listens on loopback unless --bind names another address, and tunnels to port 443 only. It connects to addresses of
  this machine and its link only if --allow-address names them.
- The client stays hidden: the proxy sends no X-Forwarded-For and no Via, and --user-agent replaces the User-Agent.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from .forward_values import DAYS, Refused, listen, network, path_of, ports, quoted, regex, site, span


def main(argv: Sequence[str]) -> int:
    """Run the sub-command and return its exit status."""
    parser = make_parser()
    options = parser.parse_args(argv)
    try:
        text = configuration(options)
    except Refused as error:
        parser.error(str(error))
    if options.print:
        sys.stdout.write(text)
        return 0
    if options.password_file:
        try:
            open(options.password_file, "rb").close()
        except OSError as error:
            # Without this check the proxy would start and then refuse all clients.
            parser.error(f"--password-file {options.password_file}: {error.strerror}")
    from .command import main as run

    print(f"forward proxy on {', '.join(options.bind or ['127.0.0.1:3128'])}, until Ctrl-C", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="wsgi-proxy-forward-") as directory:
        path = Path(directory, "nginx.conf")
        path.write_text(text, encoding="utf-8")
        return run(["-p", directory, "-c", str(path)])


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(
        prog="wsgi-proxy forward",
        description="Run a forward proxy for HTTP and CONNECT. Options marked * may be repeated.",
    )
    add = parser.add_argument
    add("--bind", action="append", metavar="[HOST]:PORT", help="the address to listen on * (default 127.0.0.1:3128)")
    add(
        "--allow-site",
        action="append",
        default=[],
        metavar="NAME",
        help="allowed sites: a.org, *.b.org, .c.org or ~regex *",
    )
    add("--deny-site", action="append", default=[], metavar="NAME", help="denied sites *")
    add(
        "--allow-port",
        action="append",
        default=[],
        type=int,
        metavar="N",
        help="allowed ports of plain HTTP * (default all)",
    )
    add(
        "--connect-port",
        action="append",
        default=[],
        type=int,
        metavar="N",
        help="allowed ports of CONNECT * (default 443)",
    )
    add("--allow-client", action="append", default=[], metavar="CIDR", help="allowed clients *")
    add("--deny-client", action="append", default=[], metavar="CIDR", help="denied clients *")
    add("--deny-user-agent", action="append", default=[], metavar="REGEX", help="denied User-Agents, ignoring case *")
    add("--hours", metavar="H-H", help="allowed hours of local time, such as 8-18")
    add("--days", metavar="DAY-DAY", help="allowed days, such as mon-fri")
    add("--password-file", metavar="FILE", help="require a password from this file in htpasswd's format")
    add("--user-agent", metavar="TEXT", help="the User-Agent that sites receive")
    add(
        "--allow-address",
        action="append",
        default=[],
        metavar="CIDR",
        help="allowed destinations on this machine or its link *",
    )
    add("--cache", metavar="DIRECTORY", help="cache responses in this directory, or in `memory`")
    add("--resolver", metavar="ADDRESS", help="the name server (default: the system's)")
    add("--workers", type=int, default=1, metavar="N", help="worker processes (default 1)")
    add("--print", action="store_true", help="print the configuration instead of running it")
    return parser


def configuration(options: argparse.Namespace) -> str:
    """Return the nginx configuration of these options. Raises Refused."""
    return "\n".join(_lines(options)) + "\n"


def _lines(options: argparse.Namespace) -> Iterator[str]:
    if options.workers < 1:
        raise Refused("--workers must be at least 1")
    yield f"worker_processes {options.workers};"
    yield "daemon off;"
    yield "pid nginx.pid;"
    yield "error_log stderr error;"
    yield ""
    yield "events { worker_connections 1024; }"
    yield ""
    yield "http {"
    yield from _indented(_http(options))
    yield "}"


def _indented(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield f"    {line}" if line else ""


def _http(options: argparse.Namespace) -> Iterator[str]:
    yield "# $request_uri would log the pages that clients read."
    yield "log_format forward '$remote_addr $remote_user [$time_local] $request_method $host $status $bytes_sent';"
    yield "access_log /dev/stdout forward;"
    yield ""
    yield from _maps(options)
    if options.cache:
        size = "" if options.cache == "memory" else " max_size=1g inactive=1d"
        yield f"proxy_cache_path {quoted(path_of(options.cache))} keys_zone=forward:10m{size};"
        yield ""
    yield "server {"
    yield from _indented(_server(options))
    yield "}"


def _maps(options: argparse.Namespace) -> Iterator[str]:
    """Yield a map for each condition. Its value is 1 if the request is allowed."""
    if options.allow_site or options.deny_site:
        yield "map $host $site_allowed {"
        yield "    hostnames;"
        yield f"    default {0 if options.allow_site else 1};"
        for flag, names in ((1, options.allow_site), (0, options.deny_site)):
            for name in names:
                yield f"    {quoted(site(name))} {flag};"
        yield "}"
        yield ""
    yield "# CONNECT to any port would give clients access to mail servers and the like."
    yield 'map "$request_method:$request_port" $port_allowed {'
    yield f'    "~^CONNECT:({ports(options.connect_port or [443])})$" 1;'
    yield '    "~^CONNECT:" 0;'
    if options.allow_port:
        plain = options.allow_port
        yield f'    "~:({ports(plain)}){"?" if 80 in plain else ""}$" 1;'
        yield "    default 0;"
    else:
        yield "    default 1;"
    yield "}"
    yield ""
    if options.deny_user_agent:
        yield "map $http_user_agent $user_agent_allowed {"
        for pattern in options.deny_user_agent:
            yield f"    {quoted('~*' + regex(pattern))} 0;"
        yield "    default 1;"
        yield "}"
        yield ""
    yield from _times(options)
    if options.allow_address:
        yield "geo $upstream_last_addr $address_named {"
        yield "    volatile;"
        for block in options.allow_address:
            yield f"    {network(block)} 1;"
        yield "    default 0;"
        yield "}"
        yield "# $upstream_elsewhere is 0 for addresses of this machine and its link."
        yield 'map "$address_named$upstream_elsewhere" $address_allowed {'
        yield "    volatile;"
        yield '    "00" 0;'
        yield "    default 1;"
        yield "}"
        yield ""


def _times(options: argparse.Namespace) -> Iterator[str]:
    if options.hours:
        hours = "|".join(f"{hour:02d}" for hour in span(options.hours, 24, "--hours", str.isdigit))
        yield "map $hour $hour_allowed {"
        yield f'    "~^({hours})$" 1;'
        yield "    default 0;"
        yield "}"
        yield ""
    if options.days:
        days = "|".join(DAYS[day].title() for day in span(options.days, 7, "--days", DAYS.__contains__))
        yield "map $weekday $day_allowed {"
        yield f'    "~*^({days})" 1;'
        yield "    default 0;"
        yield "}"
        yield ""


def _server(options: argparse.Namespace) -> Iterator[str]:
    for where in options.bind or ["127.0.0.1:3128"]:
        yield f"listen {listen(where)};"
    if options.resolver:
        yield f"resolver {quoted(options.resolver)};"
    yield ""
    for block in options.deny_client:
        yield f"deny {network(block)};"
    for block in options.allow_client:
        yield f"allow {network(block)};"
    if options.allow_client:
        yield "deny all;"
    if options.password_file:
        yield 'auth_basic "proxy";'
        yield f"auth_basic_user_file {quoted(os.path.abspath(options.password_file))};"
    if options.allow_address:
        yield "tunnel_allow_upstream $address_allowed;"
    names = ["port"]
    names += ["site"] if options.allow_site or options.deny_site else []
    names += ["user_agent"] if options.deny_user_agent else []
    names += ["hour"] if options.hours else []
    names += ["day"] if options.days else []
    yield ""
    yield "location / {"
    yield from _indented(_location(options, names))
    yield "}"


def _location(options: argparse.Namespace, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        yield f"if (${name}_allowed = 0) {{ return 403; }}"
    yield "if ($request_method = CONNECT) { tunnel_pass; }"
    yield ""
    yield "proxy_pass http://$http_host$request_uri;"
    yield "proxy_set_header Host $http_host;"
    yield 'proxy_set_header X-Forwarded-For "";'
    yield 'proxy_set_header X-Forwarded-Host "";'
    yield 'proxy_set_header X-Real-IP "";'
    yield 'proxy_set_header Forwarded "";'
    yield 'proxy_set_header Via "";'
    if options.user_agent:
        yield f"proxy_set_header User-Agent {quoted(options.user_agent)};"
    yield "proxy_buffering on;"
    if options.cache:
        yield "proxy_cache forward;"
        yield "proxy_cache_key $scheme://$http_host$request_uri;"
