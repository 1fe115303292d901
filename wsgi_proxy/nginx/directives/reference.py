"""The documentation of the directives in `reference.txt`, apart from the table.

Rules:
- Every row with an effect has an entry under its subject, and every entry a row. tests/nginx/directives/test_reference.py
  compares them, loads each example and compares each default with the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NGINX = "https://nginx.org/en/docs/"


@dataclass(frozen=True)
class Entry:
    """The documentation of one directive. `default` is None if nothing is in force without it; `page` is nginx's page, if it has
    one.
    """

    name: str
    syntax: tuple[str, ...]
    text: str
    example: str
    default: str | None = None
    difference: str = ""
    page: str = ""


def load() -> dict[tuple[str, str], Entry]:
    """Return the entries by subject and name. Raise ValueError for a malformed entry."""
    found: dict[tuple[str, str], Entry] = {}
    for subject, page, lines in _blocks(Path(__file__).with_name("reference.txt").read_text(encoding="utf-8")):
        entry = _entry(page, lines)
        if (subject, entry.name) in found:
            raise ValueError(f"{subject}: {entry.name} is described twice")
        found[subject, entry.name] = entry
    return found


def _blocks(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the subject, nginx's page and the lines of each entry."""
    subject = page = ""
    for block in text.split("\n\n"):
        lines: list[str] = []
        for line in block.strip().splitlines():
            if line.startswith("## "):
                subject = line[3:]
            elif line.startswith("@ "):
                page = "" if line == "@ -" else f"{NGINX}{line[2:]}.html"
            elif not line.startswith("# ") or lines:
                lines.append(line)
        if lines and not lines[0].startswith("#"):
            yield subject, page, lines


def _entry(page: str, lines: list[str]) -> Entry:
    name = lines[0].split()[0]
    marked = {mark: [line[2:] for line in lines if line.startswith(mark + " ")] for mark in "=>!"}
    plain = [line for line in lines if line[:2] not in ("= ", "> ", "! ")]
    syntax = tuple(line for line in plain[:-1] if line.split()[0] == name)
    if len(syntax) != len(plain) - 1 or any(len(texts) > 1 for texts in marked.values()) or len(marked[">"]) != 1:
        raise ValueError(f"{name}: needs lines of syntax, one example and one description, in this order")
    return Entry(
        name,
        syntax,
        plain[-1],
        marked[">"][0],
        marked["="][0] if marked["="] else None,
        "".join(marked["!"]),
        f"{page}#{name}" if page else "",
    )
