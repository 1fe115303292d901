"""References to objects of the user's code."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsgi_proxy.config.plugins import load


def broken() -> None:
    raise RuntimeError("no licence")


def test_a_reference_names_an_attribute_of_a_module() -> None:
    assert load("os:getpid") is __import__("os").getpid
    assert load("os:path.sep") == "/"
    assert load("os:path.join", lambda join: join("a", "b")) == "a/b"


@pytest.mark.parametrize(
    "reference, reason",
    [
        ("no_such_module:x", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("random:no_such_name", "AttributeError: module 'random' has no attribute 'no_such_name'"),
        ("random", "AttributeError: "),
        (":random", "ValueError: Empty module name"),
    ],
)
def test_a_reference_to_nothing_is_one_value_error(reference: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        load(reference)
    assert str(caught.value).startswith(f'cannot load "{reference}": {reason}')


def test_an_exception_of_the_users_code_is_the_same_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unreadable_policy.py").write_text("def choose(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match='cannot load "unreadable_policy:x": SyntaxError: '):
        load("unreadable_policy:x")
    with pytest.raises(ValueError, match=f'cannot load "{__name__}:broken": RuntimeError: no licence'):
        load(f"{__name__}:broken", lambda found: found())
