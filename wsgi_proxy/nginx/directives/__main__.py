"""Print the configuration reference, docs/configuration.md: `make reference`."""

from __future__ import annotations

from collections.abc import Iterator

from . import SUBJECTS
from .reference import Entry, load
from .row import Row

HEAD = """\
# Configuration reference

Every directive that an `nginx.conf` may have here. The page is generated from the table that reads the configuration
(`make reference`).

- A directive that is not on this page stops the start, with its file and line: `unknown directive "foo"`, or
  `directive "grpc_pass" is not supported by wsgi_proxy` for one of nginx or of a well-known module.
- Times, sizes, quotes, escapes, `include` and inheritance follow nginx. A time is a number with `ms`, `s` (the default),
  `m`, `h`, `d`, `w`, `M` or `y`; a size is a number of bytes, or with `k`, `m` or (for files) `g`.
- *Context* names the blocks where the directive may stand: *main* is the file outside any block, *if* an `if` block.
- The last section lists the directives that are accepted without effect, because no client can notice the difference.
- Responses and upstream requests that are not nginx's are in [Differences from nginx](differences.md).
"""

_COUNTS = {
    "NOARGS": "none",
    "TAKE01": "none or one",
    "TAKE012": "none, one or two",
    "TAKE1": "one",
    "TAKE2": "two",
    "TAKE3": "three",
    "TAKE12": "one or two",
    "TAKE13": "one or three",
    "TAKE23": "two or three",
    "TAKE34": "three or four",
    "TAKE123": "one to three",
    "TAKE1234": "one to four",
    "FLAG": "`on` or `off`",
    "ANY": "any number",
    "1MORE": "one or more",
    "2MORE": "two or more",
}
"""nginx's codes for the number of arguments, in English."""


def lines() -> Iterator[str]:
    """Yield the document, line by line."""
    yield HEAD
    entries = load()
    without_effect: list[Row] = []
    for subject, rows in SUBJECTS.items():
        ordered = sorted(rows, key=lambda row: (row.name, row.contexts))
        without_effect += [row for row in ordered if row.note]
        described = [row for row in ordered if not row.note and not row.like]
        if described:
            yield f"## {subject}\n"
        for row in described:
            yield from _section(row, entries[subject, row.name])
        yield from _repeated([row for row in ordered if row.like])
    yield "## Accepted without effect\n"
    yield "| directives | arguments | context | instead |"
    yield "|---|---|---|---|"
    together: dict[tuple[str, str, str], list[str]] = {}
    for row in sorted(without_effect, key=lambda row: row.name):
        together.setdefault((_COUNTS[row.takes.removeprefix("BLOCK ")], row.contexts, row.note), []).append(f"`{row.name}`")
    for (count, contexts, note), names in together.items():
        yield f"| {', '.join(names)} | {count} | {contexts} | {note} |"
    yield ""


def _repeated(rows: list[Row]) -> Iterator[str]:
    """Yield a table of the directives that other modules have in common with `proxy_*`."""
    if not rows:
        return
    together: dict[str, list[str]] = {}
    for row in rows:
        together.setdefault(row.like, []).append(f"`{row.name}`")
    yield "These directives have the syntax, the contexts and the effect of the one named.\n"
    yield "| directives | as |"
    yield "|---|---|"
    for like, names in sorted(together.items()):
        yield f"| {', '.join(sorted(names))} | [`{like}`](#{like}) |"
    yield ""


def _section(row: Row, entry: Entry) -> Iterator[str]:
    yield f"### `{row.name}`\n"
    yield f"{entry.text}\n"
    for syntax in entry.syntax:
        yield f"- Syntax: `{_statement(syntax)}`"
    if entry.default is not None:
        yield f"- Default: `{entry.default}`" if row.opens_block else f"- Default: `{row.name} {entry.default};`"
    yield f"- Context: {row.contexts.replace('if in', '`if` in')}"
    yield f"- Example: `{entry.example}`"
    if entry.difference:
        yield f"- Difference from nginx: {entry.difference}"
    if entry.page:
        yield f"- nginx's documentation: [{row.name}]({entry.page})"
    yield ""


def _statement(syntax: str) -> str:
    return syntax if syntax.endswith("}") else f"{syntax};"


def document() -> str:
    """Return the whole page."""
    return "\n".join(lines())


if __name__ == "__main__":
    print(document(), end="")
