"""The same responses with character sets from nginx and from this proxy: equal fields and equal bytes."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support import Recorded, Recorder, Wire, fetch, free_port, reply, run_nginx, run_proxy
from tests.support.routing import Pairs

CYRILLIC = [(code, bytes([code]).decode("koi8-r")) for code in range(0xC0, 0x100)]
MAPS = (
    "charset_map koi8-r utf-8 {" + "".join(f"{code:x} {char.encode().hex()};" for code, char in CYRILLIC) + " 80 E282AC; }"
    "charset_map koi8-r windows-1251 {" + "".join(f"{code:X} {char.encode('cp1251').hex()};" for code, char in CYRILLIC) + "}"
    "map $arg_c $c { default $arg_c; }"
)
SERVERS = {
    "name": "charset utf-8;",
    "off": "charset off; source_charset koi8-r;",
    "to-utf8": "charset utf-8; source_charset koi8-r;",
    "from-utf8": "charset koi8-r; source_charset utf-8;",
    "octets": "charset windows-1251; source_charset koi8-r;",
    "back": "charset koi8-r; source_charset windows-1251;",
    "equal": "charset koi8-r; source_charset KOI8-R;",
    "override": "charset utf-8; source_charset koi8-r; override_charset on; charset_types *;",
    "override-from": "charset koi8-r; override_charset on; charset_types application/json;",
    "variable": "charset $c; source_charset koi8-r;",
    "source": "charset koi8-r; source_charset $c; override_charset on;",
    "zipped": "charset utf-8; source_charset koi8-r; gzip on;",
}
KINDS = [
    "text/html", "text/plain", "image/png", "application/json", "text/html; charset=koi8-r", 'text/html;charset="UTF-8"',
    "text/html; charset=windows-1251", "text/html; charset=iso-8859-1", "text/html; a=b", "Text/HTML; Charset=Koi8-R",
]  # fmt: skip
TEXT = "<p>Съешь этих мягких булок</p>\n" * 3
BODIES = [
    TEXT.encode("koi8-r"),
    TEXT.encode(),
    TEXT.encode("cp1251"),
    b"plain",
    "€ and \U0001f600 ю".encode(),
    b"ab\xff\xd1 \xd1",
    b"",
]
STATUSES = ["200 OK", "302 Found", "404 Not Found", "206 Partial Content"]


def upstream(request: Recorded, wire: Wire) -> bytes:
    """A response of the type, body and status that the request names, with further fields as it names them."""
    fields = [("ETag", '"a"'), ("Accept-Ranges", "bytes")]
    kind = request.get("X-Kind")
    if kind:
        fields.append(("Content-Type", kind))
    for name in ("X-Accel-Charset", "Content-Encoding"):
        value = request.get(f"X-Send-{name}")
        if value:
            fields.append((name, value))
    body = BODIES[int(request.get("X-Body") or 0)]
    sent = b"" if request.method == "HEAD" else body
    return reply(sent, request.get("X-Status") or 200, fields, length=len(body))


def requests() -> list[tuple[str, str, str, Pairs]]:
    """(host, target, method, fields)"""
    found: list[tuple[str, str, str, Pairs]] = []
    for host in SERVERS:
        targets = ["/"] if host not in ("variable", "source") else [f"/?c={c}" for c in ("utf-8", "", "x", "Koi8-R", "off")]
        for target in targets:
            found += [(host, target, "GET", [("X-Kind", kind)]) for kind in [*KINDS, ""]]
            found += [(host, target, "GET", [("X-Kind", KINDS[0]), ("X-Body", str(n))]) for n in range(len(BODIES))]
            found += [(host, target, "GET", [("X-Kind", KINDS[0]), ("X-Status", status)]) for status in STATUSES]
            found += [(host, target, "GET", [("X-Kind", KINDS[4]), ("X-Status", status)]) for status in STATUSES]
            for accel in ("utf-8", "Windows-1251", "koi8-r", "nope", "off"):
                found += [(host, target, "GET", [("X-Kind", KINDS[n]), ("X-Send-X-Accel-Charset", accel)]) for n in (0, 2, 4)]
            found.append((host, target, "GET", [("X-Kind", KINDS[0]), ("X-Send-Content-Encoding", "br")]))
            found.append((host, target, "HEAD", [("X-Kind", KINDS[0])]))
            found += [(host, f"/file.html{target[1:]}", "GET", [("Range", value)]) for value in ("bytes=0-9", "bytes=0-9,20-29")]
            found += [(host, f"/file.{end}{target[1:]}", method, []) for end in ("html", "txt") for method in ("GET", "HEAD")]
    return found


def conf(port: int, root: Path, up: str) -> str:
    both = f"location / {{ proxy_pass {up}; }} location /file. {{ }}"
    servers = "".join(
        f"server {{ listen {port}; server_name {name}; root {root}; {text} {both} }}" for name, text in SERVERS.items()
    )
    return f"events {{}} http {{ access_log off; {MAPS} types {{ text/html html; text/plain txt; }} {servers} }}"


def test_character_sets(tmp_path: Path) -> None:
    for name in ("file.html", "file.txt"):
        (tmp_path / name).write_bytes(TEXT.encode("koi8-r"))
    theirs_at, ours_at = free_port(), free_port()
    different = []
    with (
        Recorder(upstream) as up,
        run_nginx(conf(theirs_at, tmp_path, up.url), tmp_path),
        run_proxy(conf(ours_at, tmp_path, up.url), tmp_path),
    ):
        for host, target, method, fields in requests():
            seen = []
            for port in (theirs_at, ours_at):
                response = fetch(port, target, method, fields, host=host)
                names = ("content-type", "content-length", "etag", "accept-ranges", "content-encoding", "content-range")
                values = [response.get(name) for name in names]
                if not response.body and method == "GET":
                    values[1] = None  # an empty body of unknown length has one here, and a last chunk in nginx
                body, mark = response.body, re.search(r"boundary=(\d+)", values[0] or "")
                if mark is not None:
                    values[0], body = "multipart", body.replace(mark[1].encode(), b"boundary")
                seen.append((response.status, values, body))
            if seen[0] != seen[1]:
                different.append(f"{host} {method} {target} {fields}\n  nginx {seen[0]}\n  here  {seen[1]}"[:900])
    assert not different, f"{len(different)} differ\n" + "\n".join(different[:20])
