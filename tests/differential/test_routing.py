"""The same configuration in real nginx and in our router: which location, server and value, for generated cases.

Every case is one request to both; the status, Location, Content-Type and the text of a `return` are compared.
The generators are seeded, so that a failure can be run again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.support import free_port, free_ports, run_nginx
from tests.support.routing import Ours, Pairs, Theirs, same
from wsgi_proxy.errors import ConfigError
from wsgi_proxy.variables.geo import _range, _Ranges

Case = tuple[str, str, Pairs]

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of missing files need no report."""
    caplog.set_level(100, "wsgi_proxy")


def compare(conf: str, port: int, cases: Iterable[Case], tmp_path: Path) -> int:
    """Send every case to both sides; give their number. All differences are shown together."""
    differences = []
    number = 0
    with run_nginx(conf, tmp_path):
        theirs, ours = Theirs(port), Ours(conf, port)
        try:
            for method, target, fields in cases:
                number += 1
                mine, wanted = ours.ask(method, target, fields), theirs.ask(method, target, fields)
                if not same(mine, wanted):
                    differences.append(f"{method} {target} {fields}\n  ours  {mine}\n  nginx {wanted}")
        finally:
            theirs.close()
    assert not differences, f"{len(differences)} of {number}:\n" + "\n".join(differences[:10])
    return number


# --- locations --------------------------------------------------------------------------------------------------------------

NAMES = ["a", "b", "ab", "c", "a.b", "A"]
PATTERNS = ["^/a", "b$", "/c/", "^/(a|b)/(?<tail>.*)$", r"\\.b", "^/ab/?$", "[AB]", "(.)b", "^/$"]
ODD_TARGETS = ["/%61/b", "/a/%2e%2e/c", "/a%20b/c", "/../x", "/%zz", "/a%00b", "/a#f", "/a+b?q#z", "/a.b", "/A/b", "*", "a"]


class Locations:
    """Random location blocks, each of which says its number."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.count = 0

    def path(self, depth: int = 3) -> str:
        text = "".join("/" + self.dice.choice(NAMES) for _ in range(self.dice.randint(0, depth)))
        return (text + ("/" if self.dice.random() < 0.5 else "")) or "/"

    def target(self) -> str:
        path = self.path(4)
        odd = [path + "%2Fb", "/" + path, path + "../" + self.dice.choice(NAMES), path + "./b", self.dice.choice(ODD_TARGETS)]
        return self.dice.choice([path, path, path + "?x=1", self.dice.choice(odd)])

    def blocks(self, number: int, outer: str = "", depth: int = 0, only_patterns: bool = False) -> str:
        made = []
        seen = set()
        for _ in range(number):
            kind = "~" if only_patterns else self.dice.choice(["", "", "", "=", "^~", "~", "~*"])
            is_pattern = kind in ("~", "~*")
            if is_pattern:
                text = self.dice.choice(PATTERNS)
            else:
                text = outer.rstrip("/") + self.path() if outer else self.path()
                if not text.startswith(outer) or (kind == "=", text) in seen:
                    continue
                seen.add((kind == "=", text))
            self.count += 1
            inner = ""
            if kind != "=" and depth < 2 and self.dice.random() < 0.3:
                inner = self.blocks(3, "" if is_pattern else text, depth + 1, is_pattern)
            response = f'return 200 "L{self.count} $uri?$args 1=$1 2=$2\\n";'
            made.append(f'location {kind} "{text}" {{ {inner} {response} }}')
        return "\n".join(made)


@pytest.mark.parametrize("seed", [5, 6])
def test_locations(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    make = Locations(dice)
    port = free_port()
    servers = [
        f"server {{ listen {port}; server_name s{n}.t; root /nonexistent; {make.blocks(dice.randint(1, 8))} }}" for n in range(60)
    ]
    conf = "events {}\nhttp { access_log off;\n" + "\n".join(servers) + "\n}"
    cases = [("GET", make.target(), [("Host", f"s{n}.t")]) for n in range(60) for _ in range(15)]
    assert compare(conf, port, cases, tmp_path) == 900


# --- scripts ----------------------------------------------------------------------------------------------------------------

REGEXES = ["^/a(.*)$", "^/(.)(.*)$", "b", "^/x/([^/]+)/?(?<rest>.*)$", "^(.*)/b$", ".", r"^/c(\\d*)", "zz", "(q)?a", "^/l/(.*)$"]
REPLACEMENTS = [
    "/b/$1", "/x/$1/$2", "/l/$1?z=$1", "/c?", "/a$2?p=$2&q", "/", "/l$uri", "http://e.org/$1", "https://e.org$uri?k=$2",
    "/q/$1?", "$scheme://h/$1", "/é$1", "/a%20b$1", "/b?$args", "/x/$rest", "/n?a?b",
]  # fmt: skip
FLAGS = ["", "", "last", "break", "redirect", "permanent"]
CONDITIONS = [
    "$arg_k", "$arg_k = a", "$arg_k != a", "$uri ~ ^/(a)(.)", "$uri !~ b", '$http_x ~* "^(f)oo"', "$args ~ (k=.)", "$v = 1",
    "$request_method = GET", "-f /etc/passwd", "!-f /etc/passwd", "-d /etc", "-e /nope", "$v", "-x /bin/sh",
]  # fmt: skip
SHOW = '"$uri|$args|$1|$2|$v|$rest|$request_uri|$is_args"'
RETURNS = [
    f"return 200 {SHOW};", f"return 200 {SHOW};", 'return 200 "T$1-$arg_k";', 'return 200 "";', "return 404;",
    'return 403 "no $uri";', "return 301 /z$uri;", "return 302 http://o.org/$1;", "return 204;", "return http://u.org/;",
    "return 307 $uri;", "return 418;", "return 201;", 'return 303 "a b";',
]  # fmt: skip
PLACES = ["/", "/a", "/b", "/x/", "/l", "= /c", "~ b$", "~ ^/(q)(.)", "/n"]
SCRIPT_TARGETS = [
    "/", "/a", "/ab", "/a/b", "/b", "/x/foo/bar", "/x/a%20b/c", "/l/z", "/c", "/c12", "/q/r", "/n", "/a+c", "/a%2Bc/b", "/%C3%A9",
    "/zzz", "/qa",
]  # fmt: skip


def script(dice: random.Random, number: int, depth: int = 0) -> str:
    made = []
    for _ in range(number):
        roll = dice.random()
        if roll < 0.35:
            made.append(f'rewrite "{dice.choice(REGEXES)}" "{dice.choice(REPLACEMENTS)}" {dice.choice(FLAGS)};')
        elif roll < 0.5:
            made.append(f'set $v "{dice.choice(["1", "0", "", "$v$1", "$uri", "x$arg_k"])}";')
        elif roll < 0.57:
            made.append(f'set $args "{dice.choice(["", "new=1", "$args&m=1"])}";')
        elif roll < 0.62:
            made.append("break;")
        elif roll < 0.72:
            made.append(dice.choice(RETURNS))
        elif depth < 1:
            made.append(f"if ({dice.choice(CONDITIONS)}) {{ {script(dice, dice.randint(1, 3), 1)} }}")
    return " ".join(made)


def script_server(dice: random.Random, port: int, number: int) -> str:
    blocks = []
    for place in dice.sample(PLACES, dice.randint(1, 6)):
        last = dice.choice([*RETURNS, f"return 200 {SHOW};"]) if dice.random() < 0.9 else ""
        blocks.append(f"location {place} {{ {script(dice, dice.randint(0, 4))} {last} }}")
    if not any(block.startswith("location / ") for block in blocks):
        blocks.append(f"location / {{ return 200 {SHOW}; }}")
    own = script(dice, dice.randint(0, 2)) if dice.random() < 0.4 else ""
    start = f'server {{ listen {port}; server_name s{number}.t; root /nonexistent; set $v "";'
    return f"{start} {own} {' '.join(blocks)} }}"


@pytest.mark.parametrize("seed", [1, 2])
def test_scripts(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    port = free_port()
    servers = [script_server(dice, port, n) for n in range(60)]
    # The name is declared here, because not every draw above has the rewrite that captures it.
    servers.append(f"server {{ listen {port}; server_name none.t; location ~ (?<rest>zzzz) {{ return 404; }} }}")
    conf = "events {}\nhttp { access_log off;\n" + "\n".join(servers) + "\n}"
    queries = ["", "", "?k=a", "?k=b&x=%20", "?", "?k=0"]
    cases: list[Case] = []
    for n in range(60):
        for _ in range(12):
            more = [("X", "foo")] if dice.random() < 0.5 else []
            cases.append(("GET", dice.choice(SCRIPT_TARGETS) + dice.choice(queries), [("Host", f"s{n}.t"), *more]))
    assert compare(conf, port, cases, tmp_path) == 720


# --- server names -----------------------------------------------------------------------------------------------------------

LABELS = ["a", "b", "c", "www", "x-y", "1"]
ODD_HOSTS = ["", "a..b", "[::1]", "[::1]:80", "1.2.3.4", "a_b", "a/b", "a b", "a:x", "*.a", ".a", "..", "a@b"]


def host(dice: random.Random, labels: int) -> str:
    return ".".join(dice.choice(LABELS) for _ in range(labels))


def server_name(dice: random.Random) -> str:
    regexes = [r'"~^(?<sub>[ab])\\.(.+)$"', "~^www", r"~^(.)\\.(.)\\.c$", '"~b{1,2}$"']
    makers: list[Callable[[], str]] = [
        lambda: host(dice, dice.randint(1, 3)),
        lambda: "*." + host(dice, dice.randint(1, 2)),
        lambda: "." + host(dice, dice.randint(1, 2)),
        lambda: host(dice, dice.randint(1, 2)) + ".*",
        lambda: dice.choice(regexes),
    ]
    return dice.choice(makers)()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_server_names(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    total = 0
    ports = free_ports(6)
    servers = []
    for port in ports:
        number = dice.randint(1, 9)
        default = dice.randint(0, number - 1)
        for n in range(number):
            names = " ".join(server_name(dice) for _ in range(dice.randint(1, 3)))
            listen = f"listen {port}{' default_server' if n == default and n else ''};"
            show = f'return 200 "S{port}.{n} $host $server_name $sub $1 $2 $http_host";'
            servers.append(f"server {{ {listen} server_name {names}; location ~ (?<sub>zz) {{ }} location / {{ {show} }} }}")
    conf = "events {}\nhttp { access_log off;\n" + "\n".join(servers) + "}"
    with run_nginx(conf, tmp_path):
        for port in ports:
            theirs, ours = Theirs(port), Ours(conf, port)
            for _ in range(60):
                name = host(dice, dice.randint(1, 4))
                name = (name.upper() if dice.random() < 0.2 else name) + dice.choice(["", "", "", ":80", ".", f":{port}"])
                name = dice.choice(ODD_HOSTS) if dice.random() < 0.4 else name
                mine, wanted = ours.ask("GET", "/", [("Host", name)]), theirs.ask("GET", "/", [("Host", name)])
                assert same(mine, wanted), (name, mine, wanted, conf)
                total += 1
            for protocol in ("HTTP/1.1", "HTTP/1.0"):
                mine, wanted = ours.ask("GET", "/", [], protocol), theirs.ask("GET", "/", [], protocol)
                assert same(mine, wanted), (protocol, mine, wanted)
            theirs.close()
    assert total == 360


# --- map, geo, split_clients ------------------------------------------------------------------------------------------------


def map_block(dice: random.Random, number: int) -> str:
    rows = ["hostnames;"] if dice.random() < 0.5 else []
    wildcards = bool(rows)
    if dice.random() < 0.3:
        rows.append("volatile;")
    seen: set[str] = set()
    regexes = [r"~^(?<mc>[ab])\.(.*)$", "~*^WWW", "~.c$", "~^$", "~(.)$"]
    for row in range(dice.randint(0, 8)):
        roll = dice.random()
        if roll < 0.4 or (roll < 0.7 and not wildcards):
            key = host(dice, dice.randint(1, 3))
        elif roll < 0.6:
            key = dice.choice(["*.", "."]) + host(dice, dice.randint(1, 2))
        elif roll < 0.7:
            key = host(dice, dice.randint(1, 2)) + ".*"
        elif roll < 0.8:
            key = dice.choice(regexes)
        else:
            key = dice.choice([r"\\default", "", "A.B", "foo"])
        bare = key.lower().removeprefix("*").removeprefix(".")
        if not key.startswith("~"):
            if bare in seen:
                continue
            seen.add(bare)
        value = dice.choice([f"v{row}", "c-$1-$2", "m=$mc;", "$uri$is_args", "x$host"])
        rows.append(f'"{key}" "{value}";')
    if dice.random() < 0.6:
        rows.append('default "d$arg_z";')
    dice.shuffle(rows)
    return f"map $arg_k $m{number} {{ {' '.join(rows)} }}"


def ipv4(dice: random.Random) -> str:
    return f"{dice.choice([10, 192, 127])}.{dice.choice([0, 1, 168])}.{dice.randint(0, 2)}.{dice.randint(0, 255)}"


def geo_ranges(dice: random.Random) -> list[str]:
    rows = ["ranges;"]
    accepted = _Ranges()
    for row in range(dice.randint(0, 25)):
        first, last = sorted([ipv4(dice), ipv4(dice)], key=lambda text: [int(part) for part in text.split(".")])
        if dice.random() < 0.5:
            head, _, low = first.rpartition(".")
            last = f"{head}.{dice.randint(int(low), 255)}"
        text = f"{first}-{last}"
        try:
            accepted.add(*_range(text), "", text)
        except ConfigError:
            continue  # nginx refuses it as well; the whole configuration would not start
        rows.append(f"{text} r{row};")
    return rows


def geo_networks(dice: random.Random) -> list[str]:
    rows = []
    for row in range(dice.randint(0, 10)):
        if dice.random() < 0.8:
            rows.append(f"{ipv4(dice)}/{dice.choice([0, 8, 16, 24, 28, 32, 31])} c{row};")
        else:
            rows.append(f"{dice.choice(['::1', '2001:db8::/32', '2001:db8:1::/48', 'fe80::/10', '::/0'])} s{row};")
        if dice.random() < 0.1:
            rows.append("delete 10.0.0.0/8;")
    return rows


def geo_block(dice: random.Random, number: int) -> str:
    use_ranges = dice.random() < 0.4
    rows = geo_ranges(dice) if use_ranges else geo_networks(dice)
    if dice.random() < 0.6:
        rows.append("default dd;")
    if dice.random() < 0.4:
        rows.append("proxy 10.0.0.0/8;")
    if dice.random() < 0.5:
        rows.append("proxy_recursive;")
    if not use_ranges and dice.random() < 0.3:
        rows.append("proxy 127.0.0.1;")
    return f"geo {dice.choice(['$arg_ip', '$arg_ip', ''])} $g{number} {{ {' '.join(rows)} }}"


def split_block(dice: random.Random, number: int) -> str:
    left = 10000
    rows = []
    for row in range(dice.randint(1, 5)):
        share = dice.choice([1, 50, 333, 2000, 3333])
        if share <= left:
            left -= share
            rows.append(f"{share / 100:g}% p{row};")
    if dice.random() < 0.8:
        rows.append("* rest;")
    return f'split_clients "$arg_k{number}$arg_k" $s{number} {{ {" ".join(rows)} }}'


def address(dice: random.Random) -> str:
    odd = ["::1", "2001:db8::5", "2001:db8:1::5", "::ffff:10.0.1.2", "junk", "", "fe80::1"]
    return dice.choice([ipv4(dice)] * 3 + odd)


def forwarded(dice: random.Random) -> str:
    several = f"{ipv4(dice)}, 10.0.0.5, 10.1.1.1"
    return dice.choice([ipv4(dice), f"{ipv4(dice)}, {ipv4(dice)}", several, f"junk, {ipv4(dice)}", "2001:db8::9", "junk", ""])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_map_geo_and_split_clients(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    port = free_port()
    blocks = [make(dice, n) for make in (map_block, geo_block, split_block) for n in range(40)]
    for n in range(40):
        show = f'return 200 "$m{n}|$g{n}|$s{n}|$1|$mc|$m{n}";'
        blocks.append(f"server {{ listen {port}; server_name s{n}.t; location ~ (?<mc>zz) {{ }} location / {{ {show} }} }}")
    conf = "events {}\nhttp { access_log off; map_hash_bucket_size 128;\n" + "\n".join(blocks) + "}"
    cases: list[Case] = []
    for n in range(40):
        for _ in range(15):
            odd = ["default", "FOO", "a.b.", ".a", "..", "WWW.a", "hostnames"]
            key = host(dice, dice.randint(0, 4)) if dice.random() < 0.85 else dice.choice(odd)
            fields = [("Host", f"s{n}.t")]
            if dice.random() < 0.4:
                fields.append(("X-Forwarded-For", forwarded(dice)))
            cases.append(("GET", f"/?k={key}&ip={address(dice)}&z=1", fields))
    assert compare(conf, port, cases, tmp_path) == 600
