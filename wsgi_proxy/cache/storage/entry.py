"""What is stored: an answer with all that later decisions need (`Entry`), or by which fields a key's answers vary (`VaryIndex`).

Both give and take a *head*: their form as JSON, which lies in a file or value before the body (see cachefile.py). An
index is no answer: it lists the specs seen for its key, and an epoch that is part of the answers' names, so that
answers from before an invalidation cannot come back with a later one.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any, Final

from ..rfc9111 import Freshness, Pairs, Selection, Spec


class BrokenEntry(ValueError):
    """A stored file is not what it should be; the message says in what way."""


def new_id() -> int:
    return int.from_bytes(os.urandom(8), "little")


def digest_of(text: str) -> str:
    """The name of a key in a store, as nginx makes it: md5, hexadecimal."""
    return hashlib.md5(text.encode("latin-1", "backslashreplace"), usedforsecurity=False).hexdigest()


def fill_name(key: str, spec: Spec = (), selection: Selection = ()) -> str:
    """The name by which concurrent requests for an answer meet; unlike its name in the store it is known before it is there."""
    return digest_of(json.dumps([key, spec, selection]) if spec else key)


class Entry:
    """A stored answer. `body` is its bytes when they are small, else None: then they lie in the file at `path`.

    `stored_at` and `checked_at` are when it was fetched and last validated; `primary` is its key's own name in the
    store, `name` the one it lies under (another one if it varies); `purged` is the generation of the key that its fetch
    began under. `target` is the URI that was asked for, and `voided` how often the target's answers had been voided then; -1
    where its key is made of the target, so that voiding the key is enough.
    """

    __slots__ = (
        "body",
        "body_length",
        "body_offset",
        "checked_at",
        "freshness",
        "headers",
        "id",
        "key",
        "name",
        "path",
        "primary",
        "purged",
        "reason",
        "selection",
        "spec",
        "status",
        "stored_at",
        "target",
        "touched_at",
        "uri",
        "voided",
    )

    def __init__(
        self,
        key: str,
        uri: str,
        status: int,
        reason: str,
        headers: Pairs,
        freshness: Freshness,
        stored_at: float,
        spec: Spec = (),
        selection: Selection = (),
        purged: int = 0,
        target: str = "",
        voided: int = -1,
    ) -> None:
        self.target = target
        self.voided = voided
        self.key = key
        self.uri = uri
        self.status = status
        self.reason = reason
        self.headers = headers
        self.freshness = freshness
        self.stored_at = self.checked_at = stored_at
        self.spec = spec
        self.selection = selection
        self.purged = purged
        self.primary = digest_of(key)
        self.name = self.primary
        self.body: bytes | None = None
        self.body_length = -1
        self.body_offset = 0
        self.path = ""
        self.id = 0
        self.touched_at = 0.0

    @property
    def fill_name(self) -> str:
        """By which name those meet who want this answer anew."""
        return fill_name(self.key, self.spec, self.selection)

    def head(self) -> bytes:
        f = self.freshness
        return json.dumps(
            {
                "kind": "answer",
                "key": self.key,
                "uri": self.uri,
                "status": self.status,
                "reason": self.reason,
                "headers": self.headers,
                "freshness": [f.born, f.lifetime, f.must_revalidate, f.no_cache, f.grace, f.error_grace],
                "stored": self.stored_at,
                "checked": self.checked_at,
                "spec": self.spec,
                "selection": self.selection,
                "purged": self.purged,
                "target": self.target,
                "voided": self.voided,
            },
            separators=(",", ":"),
        ).encode()

    @classmethod
    def of_head(cls, head: dict[str, Any]) -> Entry:
        try:
            born, lifetime, must_revalidate, no_cache, grace, error_grace = head["freshness"]
            entry = cls(
                head["key"],
                head["uri"],
                int(head["status"]),
                head["reason"],
                [(name, value) for name, value in head["headers"]],
                Freshness(float(born), float(lifetime), bool(must_revalidate), bool(no_cache), float(grace), float(error_grace)),
                float(head["stored"]),
                tuple(head["spec"]),
                tuple(head["selection"]),
                int(head["purged"]),
                str(head.get("target", "")),
                int(head.get("voided", -1)),
            )
            entry.checked_at = float(head["checked"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BrokenEntry(f"unreadable head: {error!r}") from None
        return entry

    @property
    def pairs(self) -> Pairs:
        """The upstream's own fields, as a reply has them."""
        return self.headers

    def weight(self) -> int:
        """Bytes of memory that this entry takes in a process, roughly."""
        return 1000 + sum(len(name) + len(value) + 130 for name, value in self.headers) + len(self.body or b"")


class VaryIndex:
    """By which fields the answers of a key vary: the specs seen, newest first, and the epoch of their names."""

    __slots__ = ("epoch", "key", "primary", "specs")

    # More ways to vary than an honest origin has; the oldest are forgotten.
    SPECS_MAX: Final = 4

    def __init__(self, key: str, epoch: str, specs: list[Spec]) -> None:
        self.key = key
        self.primary = digest_of(key)
        self.epoch = epoch
        self.specs = specs

    @classmethod
    def fresh(cls, key: str) -> VaryIndex:
        return cls(key, os.urandom(8).hex(), [])

    def with_spec(self, spec: Spec) -> VaryIndex:
        return VaryIndex(self.key, self.epoch, [spec, *(each for each in self.specs if each != spec)][: self.SPECS_MAX])

    def name_of(self, spec: Spec, selection: Selection) -> str:
        """The name in the store of the answer for this selection."""
        return digest_of(json.dumps([self.key, self.epoch, spec, selection]))

    def head(self) -> bytes:
        return json.dumps({"kind": "vary", "key": self.key, "epoch": self.epoch, "specs": self.specs}).encode()

    @classmethod
    def of_head(cls, head: dict[str, Any]) -> VaryIndex:
        try:
            return cls(head["key"], head["epoch"], [tuple(spec) for spec in head["specs"]])
        except (KeyError, TypeError, AttributeError) as error:
            raise BrokenEntry(f"unreadable index: {error!r}") from None
