"""The rules of the model."""

from __future__ import annotations

import dataclasses

import pytest

from wsgi_proxy import config


def test_everything_is_frozen() -> None:
    for value in vars(config).values():
        if isinstance(value, type) and dataclasses.is_dataclass(value):
            assert value.__dataclass_params__.frozen, value  # type: ignore[attr-defined]


def test_listen_addresses() -> None:
    assert config.Listen().address == ("0.0.0.0", 80)
    assert config.Listen(host="::1", port=81).address == ("::1", 81)
    assert config.Listen(unix="/s").address == "/s"


def test_a_setting_cannot_be_changed_at_work() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.Server("a").weight = 2  # type: ignore[misc]
