"""Objects of the user's code, named in a configuration as `my.package:thing`: balancing policies and cache storages.

Rules:
- `thing` may be dotted: `my.package:Class.attribute`.
- Any exception of the user's code becomes one ValueError that names the reference, so that the start reports it as a fault of the
  configuration.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def _unchanged(found: Any) -> Any:
    return found


def load(reference: str, make: Callable[[Any], Any] = _unchanged) -> Any:
    """Return the object that `package.module:name` refers to.

    `make` may turn the object into the wanted one, for example by calling a factory. Raises ValueError if there is no such
    object, or if the import or `make` raises an exception.
    """
    module, _, name = reference.partition(":")
    try:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        return make(found)
    except Exception as error:
        raise ValueError(f'cannot load "{reference}": {type(error).__name__}: {error}') from error
