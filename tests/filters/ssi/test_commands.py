"""The table of the commands; test_filter carries them out."""

from __future__ import annotations

from wsgi_proxy.filters.ssi.commands import COMMANDS


def test_mandatory_parameters_are_parameters() -> None:
    assert all(set(rule.mandatory) <= rule.parameters for rule in COMMANDS.values())
    assert len(COMMANDS) == 10
