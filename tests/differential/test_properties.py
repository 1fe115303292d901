r"""`\p{…}` in regular expressions: every byte with every property, in real nginx and here."""

from __future__ import annotations

from pathlib import Path

from tests.support import Client, free_port, run_nginx
from wsgi_proxy.variables.patterns import compile_regex

NAMES = """
C Cc Cf Cn Co Cs L Ll Lm Lo Lt Lu L& M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs Any Latin Common Greek
Cyrillic Han Xan Xps Xsp Xuc Xwd
""".split()
PATTERNS = [
    *(rf"\p{{{name}}}" for name in NAMES),
    *(rf"\P{{{name}}}" for name in ("L", "Lu", "Any", "Greek")),
    *(r"\pL", r"\PN", r"\p{^Lu}", r"\P{^Lu}"),
    *(r"[\p{L}\d]", r"[^\p{Lu}x]", r"[^\p{L}]", r"[\P{L}a]", r"[\p{Greek}]", r"[^\p{Greek}]", r"[a\p{Lu}-]", r"[\p{Lu}\p{Nd}]"),
    *(r"(?i)\p{Lu}", r"(?i)[\p{Lu}]", r"(?i)[\p{Lu}y]", r"(?i)[^\p{Lu}y]", r"(?i)\p{Ll}", r"\C"),
]


def test_properties(tmp_path: Path) -> None:
    # `/` and `.` have a meaning in a path, and nginx refuses a NUL.
    codes = [code for code in range(1, 256) if chr(code) not in "/."]
    port = free_port()
    maps = "".join(f'map $uri $m{number} {{ default 0; "~^/{pattern}\\z" 1; }}\n' for number, pattern in enumerate(PATTERNS))
    shown = "".join(f"${{m{number}}}" for number in range(len(PATTERNS)))
    text = f'events {{}} http {{ access_log off; {maps} server {{ listen 127.0.0.1:{port}; return 200 "{shown}"; }} }}'
    compiled = [compile_regex(rf"^/{pattern}\z") for pattern in PATTERNS]
    with run_nginx(text, tmp_path), Client(port) as client:
        for code in codes:
            found = client.exchange(f"GET /%{code:02x} HTTP/1.1\r\nHost: a\r\n\r\n".encode()).body.decode()
            ours = "".join("1" if pattern.search(f"/{chr(code)}") else "0" for pattern in compiled)
            differing = [pattern for pattern, a, b in zip(PATTERNS, found, ours, strict=True) if a != b]
            assert not differing, (code, differing)
