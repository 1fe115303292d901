"""The values of a storage: a stored response with everything that later decisions need (`Entry`), or a key's index (`VaryIndex`).

Rules:
- Both have a *head*, their form as JSON, which precedes the body in a file or value (see `format.py`).
- An index is no response. It lists the specs seen for its key, and an epoch that is part of the variants' names. So variants from
  before an invalidation cannot come back with a later index.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any, Final

from ..rfc9111 import Freshness, Pairs, Selection, Spec


class BrokenEntry(ValueError):
    """A stored file is damaged or foreign. The message says how."""


def new_id() -> int:
    """Return a random number of 64 bits."""
    return int.from_bytes(os.urandom(8), "little")


def digest_of(text: str) -> str:
    """Return the name of a key in a store, as nginx makes it: the MD5 digest in hexadecimal digits."""
    return hashlib.md5(text.encode("latin-1", "backslashreplace"), usedforsecurity=False).hexdigest()


def fill_name(key: str, spec: Spec = (), selection: Selection = ()) -> str:
    """Return the name by which concurrent requests for a response meet. It is known before the response is stored."""
    return digest_of(json.dumps([key, spec, selection]) if spec else key)


class Entry:
    """A stored response. `body` is its bytes if they are few, else None: then they are in the file at `path`.

    `stored_at` and `checked_at` are the seconds since 1970 at which it was fetched and last validated. `primary` is the digest of
    its key, and `name` its name in the store, which differs for a variant. `purged` is the key's generation before the fetch.
    `target` is the requested URI, and `voided` the count of the target's invalidations before the fetch, -1 if the key is made of
    the target.
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
        """The name by which requests that fetch this response again meet."""
        return fill_name(self.key, self.spec, self.selection)

    @property
    def announced(self) -> int | None:
        """The length of the body in bytes as the head announces it; None if it does not."""
        if self.status == 204:
            return 0
        return next((int(value) for name, value in self.headers if name.lower() == "content-length" and value.isdigit()), None)

    def head(self) -> bytes:
        """Return the entry without its body, as JSON."""
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
        """Return the entry of a decoded head. BrokenEntry if a field is missing or malformed."""
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
        """The upstream's fields, under the name that an upstream's reply has for them."""
        return self.headers

    def weight(self) -> int:
        """Return roughly how many bytes of memory the entry occupies."""
        return 1000 + sum(len(name) + len(value) + 130 for name, value in self.headers) + len(self.body or b"")


class VaryIndex:
    """The selecting fields of a key's variants: the specs seen, newest first, and the epoch of the variants' names."""

    __slots__ = ("epoch", "key", "primary", "specs")

    # More specs than an honest origin has for one key. The oldest are dropped.
    SPECS_MAX: Final = 4

    def __init__(self, key: str, epoch: str, specs: list[Spec]) -> None:
        self.key = key
        self.primary = digest_of(key)
        self.epoch = epoch
        self.specs = specs

    @classmethod
    def fresh(cls, key: str) -> VaryIndex:
        """Return an index without specs, of a new epoch."""
        return cls(key, os.urandom(8).hex(), [])

    def with_spec(self, spec: Spec) -> VaryIndex:
        """Return this index with `spec` as its newest."""
        return VaryIndex(self.key, self.epoch, [spec, *(each for each in self.specs if each != spec)][: self.SPECS_MAX])

    def name_of(self, spec: Spec, selection: Selection) -> str:
        """Return the name in the store of the variant for this selection."""
        return digest_of(json.dumps([self.key, self.epoch, spec, selection]))

    def head(self) -> bytes:
        """Return the index as JSON."""
        return json.dumps({"kind": "vary", "key": self.key, "epoch": self.epoch, "specs": self.specs}).encode()

    @classmethod
    def of_head(cls, head: dict[str, Any]) -> VaryIndex:
        """Return the index of a decoded head. BrokenEntry if a field is missing or malformed."""
        try:
            return cls(head["key"], head["epoch"], [tuple(spec) for spec in head["specs"]])
        except (KeyError, TypeError, AttributeError) as error:
            raise BrokenEntry(f"unreadable index: {error!r}") from None
