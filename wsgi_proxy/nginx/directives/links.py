"""Referers and secure links."""

from __future__ import annotations

from typing import Any

from ...variables import compile_regex
from .row import ALL, Bad, BadValue, Level, Row, Statement, special


def _valid_referers(level: Level, statement: Statement) -> None:
    known = level.own.setdefault("guard.valid_referers", [])
    for text in statement.args:
        if text.startswith("~"):
            known.append(compile_regex(text[1:], True))
        elif "://" in text:
            raise Bad(f'invalid parameter "{text}"')
        else:
            known.append(text)
    if all(item in ("none", "blocked") for item in known):
        raise Bad('the "none" or "blocked" referers are specified in the "valid_referers" directive without any valid referer')


def _secure_link(name: str) -> Any:
    def act(level: Level, statement: Statement) -> None:
        target = f"guard.{name}"
        if level.own.get(target):
            raise BadValue("is duplicate")
        others = ("secure_link", "secure_link_md5") if name == "secure_link_secret" else ("secure_link_secret",)
        if any(level.own.get(f"guard.{other}") for other in others):
            raise Bad('"secure_link_secret" cannot be mixed with "secure_link" and "secure_link_md5"')
        text = statement.args[0]
        level.own[target] = text if name == "secure_link_secret" else level.template(text)
        if name != "secure_link_secret":
            # It takes the place of an inherited secret.
            level.own["guard.secure_link_secret"] = ""

    return act


ROWS: tuple[Row, ...] = (
    special("valid_referers", "server, location", "1MORE", _valid_referers, "guard.valid_referers"),
    special("secure_link", ALL, "TAKE1", _secure_link("secure_link"), "guard.secure_link"),
    special("secure_link_md5", ALL, "TAKE1", _secure_link("secure_link_md5"), "guard.secure_link_md5"),
    special("secure_link_secret", ALL, "TAKE1", _secure_link("secure_link_secret"), "guard.secure_link_secret"),
)
