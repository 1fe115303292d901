"""Prints the table of directives as docs/nginx-support.md: `python -m wsgi_proxy.directives > docs/nginx-support.md`."""

from __future__ import annotations

from collections.abc import Iterator

from . import SUBJECTS
from .row import Row

HEAD = """\
# nginx's directives in wsgi_proxy

Made by `python -m wsgi_proxy.directives` from the table that reads the configuration; a test keeps it so.

A directive that is not here stops the start: `nginx.conf:12: unknown directive "foo"` where nginx does not know it either,
`nginx.conf:12: directive "fastcgi_pass" is not supported by wsgi_proxy` where nginx or a well-known module does. Times, sizes,
quotes, escapes, `include` and inheritance are nginx's. *Arguments* are nginx's own words: `TAKE12` is one or two, `1MORE` one or
more, `FLAG` is `on` or `off`, `BLOCK` opens a block.
"""


def lines() -> Iterator[str]:
    """The document, line by line."""
    yield HEAD
    for subject, rows in SUBJECTS.items():
        yield f"## {subject}\n"
        yield "| directive | where | arguments | note |"
        yield "|---|---|---|---|"
        yield from (_line(row) for row in sorted(rows, key=lambda row: (row.name, row.contexts)))
        yield ""


def _line(row: Row) -> str:
    return f"| `{row.name}` | {row.contexts} | {row.takes} | {row.note.replace('|', chr(92) + '|')} |"


def document() -> str:
    return "\n".join(lines())


if __name__ == "__main__":
    print(document(), end="")
