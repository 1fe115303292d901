"""A case of real configuration files as both servers run it: placeholders filled in, listeners moved, upstreams replaced.

Rules:
- Each server has a tree of the same files. nginx listens at 127.0.0.1 and this proxy at 127.0.0.2, on the same ports, so that
  ports in responses are equal. Paths outside the tree are moved into it.
- A constant upstream becomes the same port of UPSTREAM, a unix socket one of the tool, a resolver the tool's name server, which
  knows every name as UPSTREAM. A FastCGI, uwsgi or SCGI server becomes the stand-in of its protocol, a gRPC or memcached server a
  port that refuses connections.
- Files are changed at single words, found without this package's reader, and the same in both trees.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import free_port

from .beside_gateways import PROTOCOLS
from .beside_gateways import address as stand_in

#: The addresses of nginx, of this proxy and of the upstreams.
NGINX, OURS = "127.0.0.1", "127.0.0.2"
# One of this process, because its ports are those of the files.
UPSTREAM = f"127.7.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 256 - 1}"
REFUSED = f"{UPSTREAM}:9"
_TOKEN = re.compile(r"""\s+|\#[^\n]*|([;{}])|("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:\$\{|\\.|[^\s;{])+)""", re.DOTALL)
_GATEWAYS = {*PROTOCOLS, "grpc_pass", "memcached_pass"}
_PATHS = re.compile(r"root|alias|pid|lock_file|access_log|error_log|auth_basic_user_file|\w+_(?:cache|temp)_path")
_LOCAL = {"127.0.0.1", "localhost", "0.0.0.0", "[::1]", "::1"}
_HOST = re.compile(r"(?P<scheme>https?://)?(?P<host>[\w.<>-]+|\[[0-9a-f:]+\])(?::(?P<port>\d+))?(?=[/?$]|$)")


@dataclass
class Directive:
    """A directive with the places of its words in the text, and the names of the blocks around it."""

    words: list[str]
    places: list[tuple[int, int]]
    around: list[list[str]]
    opens: bool


def directives(text: str) -> Iterator[Directive]:
    """Yield the directives of one file in their order."""
    around: list[list[str]] = []
    words: list[str] = []
    places: list[tuple[int, int]] = []
    for found in _TOKEN.finditer(text):
        mark, word = found.groups()
        if word:
            words.append(word[1:-1] if word[0] in "'\"" else word)
            places.append(found.span())
        elif mark == "}":
            if around:
                around.pop()
        elif mark and words:
            yield Directive(words, places, list(around), mark == "{")
            if mark == "{":
                around.append(words)
            words, places = [], []


@dataclass
class Site:
    """A server block: its listeners as (port, TLS, PROXY protocol), its names, and its locations as written."""

    listens: list[tuple[int, bool, bool]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    locations: list[list[str]] = field(default_factory=list)
    #: Whether it listens at a unix socket or over QUIC, too: nothing is sent there.
    other: bool = False


@dataclass
class Case:
    """A materialized case. `ports` and `sockets` are those that its upstreams are expected at."""

    name: str
    root: Path
    resolver: int
    moved: dict[str, int] = field(default_factory=dict)
    own: dict[str, int] = field(default_factory=dict)
    upstreams: set[str] = field(default_factory=set)
    gateways: dict[str, str] = field(default_factory=dict)
    ports: set[int] = field(default_factory=set)
    sockets: dict[str, Path] = field(default_factory=dict)
    sites: list[Site] = field(default_factory=list)
    has_user: bool = False
    #: Whether a location of it has a cache.
    caches: bool = False
    #: Whether a location of it passes no request body on.
    bodiless: bool = False

    def gateway(self, name: str) -> str:
        """Return the address of the server behind a directive such as `fastcgi_pass`."""
        return stand_in(self.root, PROTOCOLS[name]) if name in PROTOCOLS else REFUSED

    def tree(self, address: str) -> Path:
        """Return the directory of the files of nginx or of this proxy; both names are equally long."""
        return self.root / ("a" if address == NGINX else "b")


def materialize(source: Path, root: Path, resolver: int) -> Case:
    """Write both trees of the case at `source` below `root`, and return the case with its listeners and upstreams."""
    case = Case(source.name, root, resolver)
    for address in (NGINX, OURS):
        tree = case.tree(address)
        shutil.copytree(source, tree / "conf")
        stock = source.parent / "_stock"
        for file in stock.iterdir() if stock.is_dir() else ():
            if not (tree / "conf" / file.name).exists():
                shutil.copy(file, tree / "conf" / file.name)
        for name in ("conf/logs", "conf/cache", "run", "fs"):
            (tree / name).mkdir(exist_ok=True)
        files = [file for file in sorted((tree / "conf").rglob("*")) if file.is_file() and file.name != "mime.types"]
        for file in files:
            text = _listening(file.read_text()).replace("@CASE@", str(tree / "conf")).replace("@PKI@", str(root.parent / "pki"))
            file.write_text(text.replace("@RUN@", str(tree / "run")))
        if address == NGINX:
            for file in files:
                _learn(case, list(directives(file.read_text())))
            _sites(case, list(_inlined(tree / "conf/nginx.conf", tree / "conf")))
        for file in files:
            file.write_text(_rewritten(file.read_text(), case, address))
    return case


def _listening(text: str) -> str:
    """Return the text with nginx's default `listen` in the server blocks without one, so that their port can be moved."""
    found = list(directives(text))
    for one in reversed(found):
        if one.words == ["server"] and one.opens:
            inside = {other.words[0] for other in found if any(words is one.words for words in other.around)}
            if not inside & {"listen", "include"}:
                at = text.index("{", one.places[-1][1]) + 1
                text = f"{text[:at]} listen 80;{text[at:]}"
    return text


def _key(where: str) -> str:
    """Return the address of a `listen` with its port."""
    if where.isdigit():
        return f"*:{where}"
    return where if re.search(r":\d+$", where) else f"{where}:80"


def _learn(case: Case, found: list[Directive]) -> None:
    """Note the listeners, the upstream groups and the gateways' groups of one file."""
    for one in found:
        name, arguments = one.words[0], one.words[1:]
        if name == "listen" and arguments and not arguments[0].startswith("unix:"):
            key = _key(arguments[0])
            if key not in case.moved:
                case.moved[key] = free_port()
                case.own.setdefault(key.rpartition(":")[2], case.moved[key])
        elif name == "listen" and arguments:
            case.own[arguments[0][5:]] = 0
        elif name == "user" and not one.around:
            case.has_user = True
        elif name == "upstream":
            case.upstreams.add(arguments[0])
        elif name in _GATEWAYS and arguments:
            case.gateways[arguments[0].rpartition("//")[2]] = name
        elif re.fullmatch(r"\w+_pass_request_body", name) and arguments == ["off"]:
            case.bodiless = True
        elif re.fullmatch(r"\w+_cache", name) and arguments != ["off"]:
            case.caches = True


def _inlined(file: Path, conf: Path, around: list[list[str]] | None = None, depth: int = 0) -> Iterator[Directive]:
    """Yield the directives of a file and of those it includes, each with all blocks around it."""
    for one in directives(file.read_text()):
        one.around = (around or []) + one.around
        if one.words[0] == "include" and depth < 10:
            for path in sorted(glob.glob(os.path.join(conf, one.words[1]))):
                yield from _inlined(Path(path), conf, one.around, depth + 1)
        else:
            yield one


def _sites(case: Case, found: list[Directive]) -> None:
    """Note the server blocks; TLS and the PROXY protocol belong to the address."""
    sites: dict[int, Site] = {}
    secure, proxied = set(), set()
    alive = []  # keeps the blocks, because they are compared by identity
    for one in found:
        name, arguments = one.words[0], one.words[1:]
        if "stream" in [words[0] for words in one.around]:
            continue
        block = next((words for words in one.around if words == ["server"]), None)
        if name == "server" and one.opens:
            alive.append(one.words)
            sites[id(one.words)] = Site()
            continue
        if block is None or id(block) not in sites:
            continue
        site = sites[id(block)]
        if name == "listen" and (arguments[0].startswith("unix:") or "quic" in arguments):
            site.other = True
        elif name == "listen":
            port = case.moved[_key(arguments[0])]
            site.listens.append((port, False, False))
            secure.update({port} if "ssl" in arguments else ())
            proxied.update({port} if "proxy_protocol" in arguments else ())
        elif name == "server_name":
            site.names += arguments
        elif name == "location":
            site.locations.append(arguments)
    for site in sites.values():
        site.listens = [(port, port in secure, port in proxied) for port, _, _ in site.listens]
        case.sites.append(site)


def _rewritten(text: str, case: Case, address: str) -> str:
    """Return the text of a file with its listeners, upstreams and paths changed for one of the servers."""
    changes: list[tuple[int, int, str]] = []
    for one in directives(text):
        new = _changed(one, case, address)
        if new != one.words:
            quoted = ['"' + word.replace('"', '\\"') + '"' if re.search(r"[\s;{}\"']", word) else word for word in new]
            changes.append((one.places[0][0], one.places[-1][1], " ".join(quoted)))
    for start, end, line in reversed(changes):
        text = text[:start] + line + text[end:]
    return text


def _changed(one: Directive, case: Case, address: str) -> list[str]:
    """Return the words of a directive for one of the servers."""
    name, *arguments = one.words
    inside = one.around[-1] if one.around else [""]
    if not arguments:
        return one.words
    if name == "listen" and not arguments[0].startswith("unix:"):
        rest = [word for word in arguments[1:] if not word.startswith("ipv6only=")]
        return [name, f"{address}:{case.moved[_key(arguments[0])]}", *rest]
    if name == "user" and not one.around and os.geteuid() == 0:
        return [name, "root"]
    if name in ("daemon", "master_process", "worker_cpu_affinity", "user") and not one.around:
        # No effect, and as many directives as before.
        return ["env", "BESIDE"]
    if name == "worker_processes":
        return [name, "1"]
    if name == "resolver":
        return [name, f"{NGINX}:{case.resolver}", *[word for word in arguments if "=" in word]]
    if name in _GATEWAYS and arguments[0] not in case.upstreams and "$" not in arguments[0]:
        return [name, case.gateway(name)]
    if name == "server" and not one.opens and inside[0] in ("upstream", ""):
        # A file with nothing but servers may be included in the group of a gateway.
        named = case.gateways.get(inside[-1], "" if one.around else next(iter(case.gateways.values()), "none"))
        led = case.gateway(named) if named else _led(arguments[0], case, address)
        return [name, led, *arguments[1:]]
    if name == "proxy_pass":
        return [name, _led(arguments[0], case, address)]
    if name == "set" or inside[0] == "map":
        return [*one.words[:-1], _value(arguments[-1], case, address)]
    if _PATHS.fullmatch(name) and arguments[0].startswith("/"):
        return [name, _inside(arguments[0], case, address), *arguments[1:]]
    return one.words


def _value(text: str, case: Case, address: str) -> str:
    """Return the value of a variable, which may be an upstream or a part of its address."""
    case.ports.update(int(found) for found in re.findall(r"(?<![\w.])\d{2,5}(?![\w.])", text) if 0 < int(found) < 65536)
    if text in _LOCAL:
        return UPSTREAM
    return _led(text, case, address) if "://" in text or text.startswith("unix:") else text


def _led(text: str, case: Case, address: str) -> str:
    """Return the address or URL of an upstream, led to the tool or to the moved listener of the same file."""
    unix = re.search(r"unix:(/[^:\s$]+)", text)
    if unix:
        if unix[1] in case.own or unix[1].replace(str(case.tree(address)), str(case.tree(NGINX))) in case.own:
            return text
        plain = unix[1].replace(str(case.tree(address)), "")
        path = case.sockets.setdefault(plain, case.root / f"up{len(case.sockets)}.sock")
        return text.replace(unix[1], str(path))
    after = re.search(r"\$\w+:(\d+)", text)
    if "$" in text.partition("://")[0] or re.match(r"https?://[^/]*\$|\$", text):
        case.ports.update({80, 443} | ({int(after[1])} if after else set()))
    found = _HOST.match(text)
    if not found or (found["host"] in case.upstreams and not found["port"]):
        return text
    scheme = found["scheme"] or ""
    port = found["port"] or ("443" if scheme == "https://" else "80")
    if found["host"] in _LOCAL and port in case.own:
        return f"{scheme}{address}:{case.own[port]}{text[found.end() :]}"
    case.ports.add(int(port))
    return f"{scheme}{UPSTREAM}{f':{port}' if found['port'] else ''}{text[found.end() :]}"


def _inside(path: str, case: Case, address: str) -> str:
    """Return the path inside the tree, and make its directory."""
    tree = case.tree(address)
    if path.startswith(("/dev/", str(tree), str(case.root))):
        return path
    inside = f"{tree}/fs{path}"
    folder = Path(inside.partition("$")[0])
    (folder if "." not in folder.name else folder.parent).mkdir(parents=True, exist_ok=True)
    return inside
